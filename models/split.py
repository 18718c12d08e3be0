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


def at_head(model: keras.Model) -> Split:
    """Returns the parts before and after the features that the head takes.

    Args:
        model: Functional. Its head is the last of `blocks.blocks`.
    """
    features = blocks(model)[-1].layers[0].input
    return Split(
        keras.Model(model.inputs, features, name=f"{model.name}_base"),
        keras.Model(features, model.outputs[0], name=f"{model.name}_head"),
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
