"""Networks of others, made fit to be trained here.

What keras.applications builds, or a `.keras` file holds, is rebuilt layer by
layer around the same weights:

- batch normalisation and dropout become ours, whose result does not depend on
  how a batch is split (models/layers.py), and whole branches are dropped by
  `stochastic_depth.StochasticDepth`;
- models within the model are written out, so that all layers are in one row;
- layers that augment are left out, since that is `train.augment`'s part;
- the number format is that of the run.
"""

from collections.abc import Callable
from typing import Any

import keras
from absl import logging

from models import layers
from models.stochastic_depth import StochasticDepth

_Leave = Callable[[keras.layers.Layer], bool]


def rebuild(
    model: keras.Model,
    image: keras.KerasTensor,
    leave_out: _Leave = lambda layer: False,
) -> keras.KerasTensor:
    """Returns the output of a network, of layers of ours, for some images.

    Args:
        model: Functional or sequential, of one input and one output, built.
            It stays as it is.
        image: A `keras.Input` that the network can take.
        leave_out: Says of a layer that its input is to pass unchanged.

    Raises:
        ValueError: A layer cannot be rebuilt; the message names it.
    """
    made: dict[int, tuple[keras.layers.Layer, keras.layers.Layer]] = {}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        # `call` writes a model out; what is no layer, such as a sum of two
        # tensors, has nothing of its own.
        if isinstance(layer, keras.Model) or not isinstance(
            layer, keras.layers.Layer
        ):
            return layer
        # A layer that is called twice has its weights once.
        if id(layer) not in made:
            made[id(layer)] = (layer, _ours(layer))
        return made[id(layer)][1]

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            return written_out(layer, args[0])
        if leave_out(layer) or _augments(layer):
            return args[0]
        kwargs.pop("mask", None)  # Of sequences; images have none.
        return layer(*args, **kwargs)

    def written_out(
        model: keras.Model, inputs: keras.KerasTensor
    ) -> keras.KerasTensor:
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = call(clone(layer), inputs)
            return inputs
        return keras.models.clone_model(
            model,
            input_tensors=(
                [inputs] if isinstance(model.input, list) else inputs
            ),
            clone_function=clone,
            call_function=call,
        ).output

    output = written_out(model, image)
    for theirs, ours in made.values():
        if ours.built:
            ours.set_weights(theirs.get_weights())
    return output


def _ours(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns a layer like another, without its weights."""
    name = _name(layer.name)
    if _is_batch_norm(layer):
        return layers.BatchNormalization(
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            scale=layer.scale,
            center=layer.center,
            name=name,
        )
    if isinstance(layer, keras.layers.Dropout):
        return _dropout(layer, name)
    # keras.applications.ConvNeXt has a class of its own for it.
    if hasattr(layer, "drop_path_rate"):
        return StochasticDepth(layer.drop_path_rate, name=name)
    if not _augments(layer) and any(
        "seed_generator_state" in v.path for v in layer.variables
    ):
        raise ValueError(
            f"The layer {layer.name!r} ({type(layer).__name__}) draws random "
            "numbers in training, which would differ between replicas. Save "
            "the model with its dropout at 0."
        )
    config = layer.get_config() | {"name": name}
    # That of the run is in force.
    config.pop("dtype", None)
    return type(layer).from_config(config)


def _name(theirs: str) -> str:
    """Returns the name of a layer, other than those of our heads."""
    ours = theirs in ("image", "logits", "pool") or theirs.startswith("head_")
    return f"base_{theirs}" if ours else theirs


def _is_batch_norm(layer: keras.layers.Layer) -> bool:
    """Whether it normalises the last axis of images, as ours does."""
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.input_spec is not None
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
    )


def _dropout(layer: keras.layers.Dropout, name: str) -> keras.layers.Layer:
    shape = layer.noise_shape
    if shape is None:
        return layers.Dropout(layer.rate, name=name)
    if all(size == 1 for size in shape[1:]):
        return StochasticDepth(layer.rate, name=name)
    raise ValueError(
        f"The layer {layer.name!r} drops with noise_shape={tuple(shape)}; "
        "here features are dropped one by one, or all of an example at once. "
        "Save the model without it."
    )


def _augments(layer: keras.layers.Layer) -> bool:
    """Whether a layer changes pictures or features at random in training."""
    if getattr(layer, "generator", None) is None and not isinstance(
        layer,
        (
            keras.layers.AlphaDropout,
            keras.layers.GaussianDropout,
            keras.layers.GaussianNoise,
        ),
    ):
        return False
    logging.log_first_n(
        logging.WARNING,
        "Layers of the backbone that augment, such as %r (%s), are left out: "
        "list them in train.augment.",
        1,
        layer.name,
        type(layer).__name__,
    )
    return True
