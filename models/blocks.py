"""A model as a row of blocks, from the image to the classes.

Fine-tuning speaks of a network in blocks: train the last three of them, learn
slower the nearer the image. A block is what a paper draws as one box: a
residual block, an inception module, or a convolution with its normalisation
and activation. They are found from the graph, so that any functional model has
them: where all paths from image to output meet in one tensor, a block may end.
Names only join what the graph alone would split, such as the expansion, the
depthwise convolution and the projection of a block without shortcut.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import keras

from models import summary

HEAD = "head"

_Layers = Sequence[keras.layers.Layer]

# What tells one block from the next in the names of our layers and of those of
# keras.applications: "stage1_block2_1_conv", "conv2_block1_add",
# "block6a_expand_conv", "expanded_conv_3_project", "stem_conv".
_BLOCK_NAME = re.compile(
    r"(?:block|layer|cell)_?\d+[a-z]?(?=_|$)"
    r"|expanded_conv(?:_\d+)?(?=_|$)"
    r"|(?:^|_)stem(?=_|$)",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a model.

    Attributes:
        name: What the names of its layers begin with, or else the name of the
            first of them that has a kernel; `head` for the last block.
        layers: Its leaf layers, in the order of the graph.
    """

    name: str
    layers: tuple[keras.layers.Layer, ...]


def blocks(model: keras.Model) -> list[Block]:
    """Returns the blocks of a model, from input to head.

    Every leaf layer is in one of them. The last is the head: the layers that
    are called `logits` or `head_...` and all that follows the first of them,
    or, where there are none, the last layer with a kernel and what follows it.
    Layers without a kernel, such as pooling, belong to the block before them,
    and those before the first kernel to the first block.

    Args:
        model: Functional or sequential; a model inside it counts as one layer.

    Raises:
        ValueError: It is neither, or no layer has a kernel.
    """
    segments = _segments(model)
    first_of_head = _head(segments, model)
    found: list[tuple[str, list[keras.layers.Layer]]] = []
    before_first: list[keras.layers.Layer] = []
    for segment in segments[:first_of_head]:
        name = _name(segment)
        if not any(map(_has_kernel, segment)):
            (found[-1][1] if found else before_first).extend(segment)
        elif found and found[-1][0] == name:
            found[-1][1].extend(segment)
        else:
            found.append((name, [*(() if found else before_first), *segment]))
    head = [layer for part in segments[first_of_head:] for layer in part]
    found.append((HEAD, head if found else [*before_first, *head]))
    return [Block(name, tuple(_leaves(layers))) for name, layers in found]


def _segments(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """Returns the layers between the tensors that all paths meet in."""
    if isinstance(model, keras.Sequential):
        return [[layer] for layer in model.layers]
    if not hasattr(model, "operations"):
        raise ValueError(
            f"The model {model.name!r} is not functional: nothing says where "
            "its blocks are. Make it with keras.Model(inputs, outputs)."
        )
    # Not all operations are layers. They come in the order of their distance
    # to the output: what lies before a tensor that all paths meet in comes
    # before it.
    readers = Counter(map(id, model.outputs))
    for operation in model.operations:
        readers.update(_inputs(operation))
    found: list[list[keras.layers.Layer]] = [[]]
    waiting: set[int] = set()
    for operation in model.operations:
        if isinstance(operation, keras.layers.Layer):
            found[-1].append(operation)
        for tensor in _inputs(operation):
            readers[tensor] -= 1
        outputs = {id(t) for t in keras.tree.flatten(operation.output)}
        waiting = {t for t in waiting | outputs if readers[t] > 0}
        if len(waiting) == 1 and waiting <= outputs:
            found.append([])
    return [segment for segment in found if segment]


def _inputs(operation: keras.Operation) -> list[int]:
    if isinstance(operation, keras.layers.InputLayer):
        return []
    return [id(tensor) for tensor in keras.tree.flatten(operation.input)]


def _head(segments: Sequence[_Layers], model: keras.Model) -> int:
    """Returns the index of the first segment of the head."""
    named = [
        i
        for i, segment in enumerate(segments)
        if any(
            layer.name == "logits" or layer.name.startswith("head_")
            for layer in segment
        )
    ]
    with_kernel = [
        i
        for i, segment in enumerate(segments)
        if any(map(_has_kernel, segment))
    ]
    if not with_kernel:
        raise ValueError(
            f"The model {model.name!r} has no layer with a kernel: there is "
            "nothing to train."
        )
    return min(named, default=with_kernel[-1])


def _name(segment: _Layers) -> str:
    for layer in segment:
        match = _BLOCK_NAME.search(layer.name)
        if match:
            return layer.name[: match.end()]
    kernels = [layer.name for layer in segment if _has_kernel(layer)]
    return kernels[0] if kernels else segment[0].name


def _has_kernel(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer has more than scales and shifts."""
    return any(len(weight.shape) > 1 for weight in layer.weights)


def _leaves(layers: _Layers) -> list[keras.layers.Layer]:
    return [
        leaf
        for layer in layers
        for leaf in (
            summary.leaves(layer) if isinstance(layer, keras.Model) else [layer]
        )
    ]
