"""A model in two: what comes before the head, and the head."""

import dataclasses

import keras

from models import layers
from models.blocks import blocks


@dataclasses.dataclass(frozen=True)
class Split:
    """The parts of a model, of the same layers and variables.

    Attributes:
        base: From images to features.
        head: From features to logits.
    """

    base: keras.Model
    head: keras.Model

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of the features of one image."""
        return tuple(self.base.output_shape[1:])


def features(model: keras.Model) -> keras.KerasTensor:
    """Returns what the head of a functional model is given.

    The head begins with the first layer that is called `logits` or `head_...`,
    or else is the last of `blocks.blocks`.

    Raises:
        ValueError: Nothing comes before it.
    """
    for layer in model.layers:
        if layer.name == "logits" or layer.name.startswith("head_"):
            return layer.input
    first = blocks(model)[-1].layers[0]
    if isinstance(first, keras.layers.InputLayer):
        raise ValueError(
            f"the model {model.name!r} has nothing before its last layer with "
            "a kernel"
        )
    return first.input


def at_head(model: keras.Model) -> Split:
    """Returns the parts before and after the features that the head takes.

    Args:
        model: Functional.

    Raises:
        ValueError: Nothing comes before the head.
    """
    between = features(model)
    return Split(
        keras.Model(model.inputs, between, name=f"{model.name}_base"),
        keras.Model(between, model.outputs[0], name=f"{model.name}_head"),
    )


def draws(base: keras.Model) -> str:
    """Returns the name of a layer that draws at random in training, or ""."""
    for layer in base.layers:
        dropped = isinstance(layer, layers.Dropout) and layer.rate > 0
        if dropped or any(
            "seed_generator_state" in v.path for v in layer.variables
        ):
            return layer.name
    return ""
