"""Which layers of a model learn.

A layer that does not learn is frozen: it has no gradient and no slots in the
optimizer, and batch norm in it normalises by its moving statistics and leaves
them alone.
"""

import re

import keras

from models import layers, summary
from models.blocks import blocks

_LAST = re.compile(r"\s*last (\d+) blocks?\s*")
_BATCH_NORMS = (keras.layers.BatchNormalization, layers.BatchNormalization)


def parse(trainable: str) -> int | None:
    """Returns how many blocks before the head learn with it; None: all.

    Args:
        trainable: `"all"`, `"head"` or such as `"last 3 blocks"`.

    Raises:
        ValueError: It is something else.
    """
    if trainable == "all":
        return None
    if trainable == "head":
        return 0
    match = _LAST.fullmatch(trainable)
    if not match or not int(match.group(1)):
        raise ValueError(
            f'trainable={trainable!r} must be "all", "head", or the head and '
            'a number of blocks before it, such as "last 3 blocks".'
        )
    return int(match.group(1))


class Freezing:
    """Freezes layers of a model and lets them learn again.

    Made when the model is as its builder has left it: what the builder has
    frozen stays so.

    Args:
        model: The network.

    Attributes:
        weights: What the builder lets learn.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._layers = [(x, x.trainable) for x in summary.leaves(model)]
        self.weights: list[keras.Variable] = model.trainable_variables

    def apply(self, trainable: str, freeze_batch_norm: bool = False) -> None:
        """Sets `trainable` of all layers.

        Functions that have been traced before go on as they were.

        Args:
            trainable: See `parse`. Blocks are those of `blocks.blocks`; the
                head comes on top of the number.
            freeze_batch_norm: Whether batch norm layers are frozen everywhere,
                their scales and shifts as well.

        Raises:
            ValueError: The model has fewer blocks, or nothing is left to learn.
        """
        frozen = self._frozen(trainable)
        for layer, by_builder in self._layers:
            layer.trainable = (
                by_builder
                and id(layer) not in frozen
                and not (freeze_batch_norm and isinstance(layer, _BATCH_NORMS))
            )
        if not self._model.trainable_variables:
            raise ValueError(
                f"trainable={trainable!r} leaves no weight of the model "
                f"{self._model.name!r} to learn: its builder has frozen the "
                'rest. Choose more blocks, or "all".'
            )

    def restore(self) -> None:
        """Leaves the model as its builder has."""
        self.apply("all")

    def _frozen(self, trainable: str) -> set[int]:
        """Returns the ids of the layers outside the blocks that learn."""
        count = parse(trainable)
        if count is None:
            return set()
        *body, _ = blocks(self._model)
        if count > len(body):
            names = ", ".join(block.name for block in body)
            raise ValueError(
                f"trainable={trainable!r}: the model {self._model.name!r} has "
                f"{len(body)} blocks before its head: {names}. Choose at most "
                'as many, or "all".'
            )
        kept = len(body) - count
        return {id(layer) for block in body[:kept] for layer in block.layers}
