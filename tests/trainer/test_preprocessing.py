"""Pixels reach a network as its weights want them."""

import keras
import numpy as np
import pytest

from input import sources
from models import input_format, simple_cnn
from trainer import errors, preprocessing


def model(shape: tuple[int, int, int], name: str | None = None) -> keras.Model:
    built = simple_cnn.simple_cnn(2, shape, filters=(2,), dense=2)
    return input_format.attach(built, name and input_format.named(name, 224))


def data(channels: int) -> sources.Synthetic:
    return sources.Synthetic({"train": 8}, 2, (4, 6, channels))


def test_without_a_wish_the_data_decide() -> None:
    info, shape = data(3).info, (4, 6, 3)
    preprocess = preprocessing.choose(model(shape), info, shape)
    pixels = np.full([1, *shape], 200, np.uint8)
    np.testing.assert_allclose(
        preprocess(pixels),
        (pixels - np.array(info.channel_mean)) / np.array(info.channel_std),
        rtol=1e-5,
    )
    said = preprocessing.describe(model(shape), shape)
    assert said == "to mean 0 and variance 1 of the training split"


def test_the_wish_of_the_weights_comes_first() -> None:
    shape = (4, 6, 3)
    taken = model(shape, "signed")
    preprocess = preprocessing.choose(taken, data(3).info, shape)
    pixels = np.array([0, 255], np.uint8).reshape([2, 1, 1, 1])
    made = preprocess(np.broadcast_to(pixels, [2, *shape]))
    np.testing.assert_array_equal(made[0], np.full(shape, -1.0))
    np.testing.assert_array_equal(made[1], np.full(shape, 1.0))


def test_grey_is_repeated_before_it_is_normalised() -> None:
    taken = model((4, 6, 3), "imagenet")
    grey = np.random.default_rng(0).integers(0, 256, [2, 4, 6, 1])
    preprocess = preprocessing.choose(taken, data(1).info, (4, 6, 1))
    colour = preprocessing.choose(taken, data(3).info, (4, 6, 3))
    np.testing.assert_array_equal(
        preprocess(grey.astype(np.uint8)),
        colour(np.repeat(grey, 3, axis=-1).astype(np.uint8)),
    )
    said = preprocessing.describe(taken, (4, 6, 1))
    assert "mean 123.7 116.3 103.5, std 58.4 57.12 57.38" in said
    assert "grey repeated in 3 channels; trained at 224 pixels" in said


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match=r"takes images of \(8, 8, 3"):
        preprocessing.choose(model((8, 8, 3)), data(3).info, (4, 6, 3))
    with pytest.raises(errors.ConfigError, match=r"the data give \(4, 6, 1\)"):
        preprocessing.choose(model((4, 6, 3)), data(1).info, (4, 6, 1))
