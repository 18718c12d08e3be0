"""The plain convolutional network: sizes, penalties, learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.simple_cnn import simple_cnn
from models.summary import parameter_count


def test_parameters_by_hand():
    model = simple_cnn(10, (28, 28, 1))
    convolutions = (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128
    dense = (3 * 3 * 128 + 1) * 128 + (128 + 1) * 10
    assert parameter_count(model) == convolutions + dense


def test_works_for_pictures_of_8_x_8_and_no_smaller():
    assert simple_cnn(10, (8, 8, 1)).output.shape == (None, 10)
    with pytest.raises(ValueError, match=r"3 poolings.*7 x 8; give at most 2"):
        simple_cnn(10, (7, 8, 1))
    assert simple_cnn(10, (7, 8, 1), filters=(4, 4)).output.shape == (None, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"l1": -1.0}, "l1=-1.0: must not be negative"),
        ({"l2": -0.5}, "l2=-0.5: must not be negative"),
        ({"dropout": 1.0}, "rate=1.0: must be"),
        ({"dense": 0}, "dense=0: must be positive"),
        ({"filters": ()}, r"filters=\(\)"),
        ({"filters": (8, 0)}, r"filters=\(8, 0\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        simple_cnn(10, (32, 32, 3), **arguments)


@pytest.mark.parametrize(
    "policy", ["float32", "mixed_bfloat16", "mixed_float16"]
)
def test_logits_are_float32_with_static_shapes(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = simple_cnn(7, (17, 9, 3), filters=[4, 4, 4])
    finally:
        keras.config.set_dtype_policy(before)
    for batch in (None, 3):
        logits = tf.function(lambda images: model(images))
        spec = tf.TensorSpec((batch, 17, 9, 3), tf.float32)
        (output,) = logits.get_concrete_function(spec).outputs
        assert output.shape.as_list() == [batch, 7]
        assert output.dtype == tf.float32


def test_penalties():
    assert simple_cnn(10, (8, 8, 1)).losses == []
    model = simple_cnn(10, (8, 8, 1), l1=0.5, l2=0.25)
    kernels = [
        v.numpy() for v in model.trainable_variables if v.name == "kernel"
    ]
    assert len(kernels) == 5
    expected = sum(
        0.5 * np.abs(k).sum() + 0.25 * np.square(k).sum() for k in kernels
    )
    np.testing.assert_allclose(sum(model.losses), expected, rtol=1e-5)


def test_overfits_a_batch(overfit):
    keras.utils.set_random_seed(0)
    model = simple_cnn(4, (8, 8, 3), filters=(16, 16), dense=32, dropout=0.2)
    assert overfit(model) < 0.1
