"""Residual networks: published sizes, shapes, dtypes, and learning."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import blocks
from models.resnet import resnet, small_resnet
from models.summary import parameter_count


def _layers_with_weights(model):
    """What the number in a ResNet's name counts: shortcuts do not."""
    return sum(
        isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        and "shortcut" not in layer.name
        for layer in model.layers
    )


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        # torchvision's published counts; that of ResNet-50 is Keras's too.
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    ],
)
def test_imagenet_parameters(depth, parameters):
    model = resnet(1000, (224, 224, 3), depth=depth)
    assert parameter_count(model) == parameters
    assert _layers_with_weights(model) == depth
    assert model.output.shape == (None, 1000)


@pytest.mark.parametrize(
    ("depth", "millions"),
    # Table 6 of He et al. 2015.
    [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)],
)
def test_cifar_parameters(depth, millions):
    model = small_resnet(10, (32, 32, 3), depth=depth)
    digits = 1 if millions > 1 else 2
    assert round(parameter_count(model) / 1e6, digits) == millions
    assert _layers_with_weights(model) == depth


@pytest.mark.parametrize(
    "build",
    [
        lambda **kw: small_resnet(10, (16, 16, 3), depth=8, **kw),
        lambda **kw: resnet(10, (32, 32, 3), depth=18, **kw),
    ],
    ids=["small", "imagenet"],
)
def test_dropout_belongs_to_the_head(build):
    dropped, plain = build(dropout=0.25), build()
    assert dropped.get_layer("head_dropout").rate == 0.25
    assert "head_dropout" not in [layer.name for layer in plain.layers]
    *_, head = blocks.blocks(dropped)
    assert [layer.name for layer in head.layers] == ["head_dropout", "logits"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: small_resnet(10, (32, 32, 3), depth=21),
            r"depth=21: must be 6n \+ 2 .*nearest valid: 20 and 26\.",
        ),
        (lambda: small_resnet(10, (32, 32, 3), depth=2), r"depth=2: .* 8\."),
        (lambda: small_resnet(10, (32, 32, 3), width=0), "width=0: must be"),
        (
            lambda: resnet(10, (32, 32, 3), depth=20),
            "depth=20: must be one of 18, 34, 50, 101, 152",
        ),
        (lambda: resnet(10, (32, 32, 3), width=0), "width=0: must be"),
        (lambda: resnet(1, (32, 32, 3)), "num_classes=1: must be at least 2"),
        (lambda: resnet(10, (32, 32)), r"image_shape=\(32, 32\): must be"),
        (lambda: resnet(10, (None, 32, 3)), r"image_shape=\(None.*: must be"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "policy", ["float32", "mixed_bfloat16", "mixed_float16"]
)
@pytest.mark.parametrize(
    ("build", "image_shape"),
    [(small_resnet, (30, 18, 1)), (resnet, (65, 40, 3))],
)
def test_logits_are_float32_with_static_shapes(build, image_shape, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        depth = 8 if build is small_resnet else 18
        model = build(7, image_shape, depth=depth, width=4)
    finally:
        keras.config.set_dtype_policy(before)
    assert {v.dtype for v in model.variables} == {"float32"}

    for batch in (None, 3):
        logits = tf.function(lambda images: model(images, training=True))
        spec = tf.TensorSpec((batch, *image_shape), tf.float32)
        (output,) = logits.get_concrete_function(spec).outputs
        assert output.shape.as_list() == [batch, 7]
        assert output.dtype == tf.float32
        assert np.isfinite(logits(tf.ones((3, *image_shape)))).all()


def test_first_loss_is_that_of_guessing_and_branches_begin_at_zero():
    model = small_resnet(10, (8, 8, 3), depth=8)
    images = tf.random.stateless_normal([16, 8, 8, 3], [1, 2])
    labels = tf.range(16) % 10
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, model(images, training=True)
    )
    assert abs(tf.reduce_mean(losses) - math.log(10)) < 0.2
    for zero, count in ((True, 3), (False, 0)):
        model = small_resnet(10, (8, 8, 3), depth=8, zero_last_gamma=zero)
        gammas = [
            layer.gamma.numpy()
            for layer in model.layers
            if layer.name.endswith("_2_norm")
        ]
        assert len(gammas) == 3
        assert sum(not gamma.any() for gamma in gammas) == count


def test_small_shortcut_is_every_other_pixel_and_new_channels_zero():
    model = small_resnet(10, (7, 8, 3), depth=8, width=4)
    layers = ["stage1_block1_relu", "stage2_block1_shortcut"]
    outputs = [model.get_layer(name).output for name in layers]
    images = tf.random.stateless_normal([2, 7, 8, 3], [1, 2])
    before, after = keras.Model(model.input, outputs)(images)
    expected = np.pad(before[:, ::2, ::2], [(0, 0)] * 3 + [(0, 4)])
    np.testing.assert_array_equal(after, expected)


def test_initial_weights_follow_he():
    model = resnet(10, (64, 64, 3), depth=18)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            inputs = math.prod(layer.kernel.shape[:-1])
            deviation = layer.kernel.numpy().std()
            np.testing.assert_allclose(
                deviation, math.sqrt(2 / inputs), rtol=0.05
            )


@pytest.mark.parametrize(
    "build",
    [
        lambda: small_resnet(4, (8, 8, 3), depth=8, width=8),
        lambda: resnet(4, (32, 32, 3), depth=18, width=8),
        lambda: resnet(4, (32, 32, 3), depth=50, width=4),
    ],
)
def test_overfits_a_batch(build, overfit):
    keras.utils.set_random_seed(0)
    assert overfit(build()) < 0.1


def test_model_survives_saving(tmp_path):
    model = small_resnet(4, (8, 8, 3), depth=8, width=4)
    images = tf.ones([2, 8, 8, 3])
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(again(images), model(images))
