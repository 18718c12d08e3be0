"""What a model costs: parameters, arithmetic and memory."""

import math
from collections.abc import Iterator

import keras

from models.layers import BatchNormalization

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)

# Layers whose gradient needs what went in, to multiply with it or to
# normalise it again, and layers whose gradient needs what came out.
_KEEP_INPUT = (
    *_CONVOLUTIONS,
    keras.layers.Dense,
    keras.layers.MaxPooling2D,
    keras.layers.BatchNormalization,
    BatchNormalization,
)
_KEEP_OUTPUT = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.MaxPooling2D,
)


def parameter_count(model: keras.Model) -> int:
    """Returns the number of trainable parameters."""
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def multiply_accumulates(model: keras.Model) -> int:
    """Returns the multiply-accumulates of one image, forward only.

    Counts the convolutions (plain, grouped and depthwise) and dense layers
    of a functional model whose picture size is fixed; biases, normalisation,
    activations and pooling are left out, as in published counts. A training
    step takes about three times as many.
    """
    # Every weight is used once at each position of the output.
    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in leaves(model)
        if isinstance(layer, (*_CONVOLUTIONS, keras.layers.Dense))
    )


def activation_bytes(model: keras.Model, batch: int, dtype_bytes: int) -> int:
    """Estimates the bytes of activations that a training step keeps.

    That is what the gradients of convolutions, dense layers, normalisation,
    activations and max-pooling need of the forward pass, every tensor counted
    once. Weights, gradients, optimizer state and the working memory of single
    operations come on top.

    Args:
        model: A functional model whose picture size is fixed.
        batch: Images on one device.
        dtype_bytes: Size of an activation: 4 for float32, 2 for half types.
    """
    kept = {}
    for layer in leaves(model):
        if isinstance(layer, _KEEP_INPUT):
            kept[id(layer.input)] = layer.input.shape
        if isinstance(layer, _KEEP_OUTPUT):
            kept[id(layer.output)] = layer.output.shape
    elements = sum(math.prod(shape[1:]) for shape in kept.values())
    return elements * batch * dtype_bytes


def leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the models it is made of."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer
