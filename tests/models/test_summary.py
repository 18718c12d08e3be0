"""Costs of models, against published counts and against the real graph."""

import math

import keras
import pytest
import tensorflow as tf

from models import summary
from models.resnet import resnet, small_resnet
from models.simple_cnn import simple_cnn


def test_resnet_50():
    model = resnet(1000, (224, 224, 3), depth=50)
    # torchvision publishes 4.09 G, other counts go up to 4.12 G.
    assert summary.multiply_accumulates(model) == 4_089_184_256
    assert summary.parameter_count(model) == 25_557_032


def test_resnet_20():
    # He et al. give no count for CIFAR-10; by hand: the stem, 6 convolutions
    # of every stage but the one that widens, and the classifier.
    model = small_resnet(10, (32, 32, 3))
    stem, same, widen = 32**2 * 27 * 16, 32**2 * 9 * 16**2, 16**2 * 9 * 16 * 32
    expected = stem + (6 + 5 + 5) * same + 2 * widen + 64 * 10
    assert summary.multiply_accumulates(model) == expected == 40_551_040


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Conv2D(8, 3, padding="same"), 12 * 10 * 9 * 4 * 8),
        (keras.layers.Conv2D(8, 3, 2, padding="same"), 6 * 5 * 9 * 4 * 8),
        (keras.layers.Conv2D(8, 3, padding="valid"), 10 * 8 * 9 * 4 * 8),
        (keras.layers.Conv2D(8, 3, groups=2), 10 * 8 * 9 * 2 * 8),
        (
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
            10 * 8 * 9 * 4 * 2,
        ),
        (keras.layers.Dense(7), 12 * 10 * 4 * 7),
        (keras.layers.Activation("relu"), 0),
    ],
)
def test_multiply_accumulates_of_a_layer(layer, expected):
    image = keras.Input((12, 10, 4))
    model = keras.Model(image, layer(image))
    assert summary.multiply_accumulates(model) == expected
    outer = keras.Model(image, model(image))
    assert summary.multiply_accumulates(outer) == expected


def _kept_by_the_graph(model, batch):
    """Bytes of the forward pass's tensors that ops of the gradient read."""

    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    spec = tf.TensorSpec((batch, *model.input.shape[1:]), tf.float32)
    operations = gradients.get_concrete_function(spec).graph.get_operations()
    # Shapes are constants by the time it runs; AddN sums gradients.
    kept = {
        tensor.ref()
        for op in operations
        if op.name.startswith("gradient_tape/") and op.type != "Shape"
        for tensor in op.inputs
        if not tensor.op.name.startswith("gradient_tape/")
        and tensor.op.type != "AddN"
        and tensor.shape.rank in (2, 4)
        and tensor.shape[0] == batch
    }
    return sum(4 * math.prod(ref.deref().shape) for ref in kept)


@pytest.mark.parametrize(
    "model",
    [
        small_resnet(10, (32, 32, 3), depth=8),
        resnet(10, (64, 64, 3), depth=18, width=8),
        simple_cnn(10, (28, 28, 1), dropout=0.0),
    ],
    ids=["small_resnet", "resnet", "simple_cnn"],
)
def test_activation_bytes_are_those_the_gradient_reads(model):
    batch = 13
    estimate = summary.activation_bytes(model, batch, 4)
    assert estimate == pytest.approx(_kept_by_the_graph(model, batch), rel=0.02)
    assert summary.activation_bytes(model, 2 * batch, 2) == estimate
