"""What all augmentations promise, whatever they do."""

import numpy as np
import pytest
import tensorflow as tf

from input import augment, colour, erasing, geometry, policies
from tests.input import pillow

AUGMENTS = {
    "random_vertical_flip": augment.random_vertical_flip,
    "random_shift": geometry.random_shift,
    "random_rotation": geometry.random_rotation,
    "random_zoom": geometry.random_zoom,
    "random_shear": geometry.random_shear,
    "random_brightness": colour.random_brightness,
    "random_contrast": colour.random_contrast,
    "random_saturation": colour.random_saturation,
    "random_sharpness": colour.random_sharpness,
    "random_hue": colour.random_hue,
    "random_grey": colour.random_grey,
    "random_invert": colour.random_invert,
    "random_posterise": colour.random_posterise,
    "random_solarise": colour.random_solarise,
    "random_auto_contrast": colour.random_auto_contrast,
    "random_equalise": colour.random_equalise,
    "random_erasing": erasing.random_erasing,
    "rand_augment": policies.rand_augment,
    "trivial_augment": policies.trivial_augment,
    "auto_augment": policies.auto_augment,
}
COLOUR_ONLY = {"random_saturation", "random_hue", "random_grey"}
# One of each sort: all operations are compiled in test_operations.py.
COMPILED = (
    "random_vertical_flip",
    "random_shift",
    "random_rotation",
    "random_shear",
    "random_brightness",
    "random_hue",
    "random_erasing",
    "rand_augment",
    "auto_augment",
)
ROWS = 8


def rows(
    first: int = 0, count: int = ROWS, seed: int = 3, step: int = 5
) -> augment.Rows:
    return augment.Rows(
        tf.constant([seed, step]), tf.constant(first), count, ROWS
    )


def images(channels: int = 3) -> np.ndarray:
    pictures = pillow.pictures(24, 28, channels)
    return np.concatenate([pictures, pictures[:, ::-1]]).astype(np.float32)


@pytest.mark.parametrize("name", AUGMENTS)
def test_same_for_every_split_of_the_batch(name: str, eager: None) -> None:
    apply = AUGMENTS[name](probability=0.9)
    whole = apply(images(), rows()).numpy()
    parts = [
        apply(images()[i : i + 4], rows(i, 4)).numpy()
        for i in range(0, ROWS, 4)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_in_the_step_gives_the_same(name: str) -> None:
    apply = AUGMENTS[name](probability=0.8)

    @tf.function(jit_compile=True)
    def step(pixels: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        return apply(pixels, augment.Rows(tf.constant([3, 5]), first, 8, 8))

    compiled = step(tf.constant(images()), tf.constant(0)).numpy()
    tf.config.run_functions_eagerly(True)
    try:
        eager = apply(tf.constant(images()), rows()).numpy()
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(compiled, eager)


@pytest.mark.parametrize("name", AUGMENTS)
def test_whole_levels_that_differ_from_step_to_step(
    name: str, eager: None
) -> None:
    apply = AUGMENTS[name](probability=0.7)
    steps = [apply(images(), rows(step=i)) for i in range(2)]
    for found in steps:
        assert found.dtype == tf.float32
        assert found.shape == images().shape
        levels = found.numpy()
        assert levels.min() >= 0
        assert levels.max() <= 255
        np.testing.assert_array_equal(levels, np.round(levels))
    changed = [(s.numpy() != images()).any((1, 2, 3)) for s in steps]
    # Of 16 images about 11, or fewer where an operation can do nothing.
    assert 3 <= np.sum(changed) < 16
    assert (steps[0].numpy() != steps[1].numpy()).any()


@pytest.mark.parametrize("name", AUGMENTS)
def test_probability_0_is_the_identity(name: str, eager: None) -> None:
    apply = AUGMENTS[name](probability=0.0)
    np.testing.assert_array_equal(apply(images(), rows()), images())


@pytest.mark.parametrize("name", AUGMENTS)
def test_grey_pictures(name: str, eager: None) -> None:
    apply = AUGMENTS[name](probability=1.0)
    if name in COLOUR_ONLY:
        with pytest.raises(ValueError, match=f"{name} needs .* have 1. Take"):
            apply(images(1), rows())
        return
    found = apply(images(1), rows())
    assert found.shape == images(1).shape
    assert (found.numpy() != images(1)).any()


@pytest.mark.parametrize(
    "name", ["random_invert", "rand_augment", "trivial_augment", "auto_augment"]
)
def test_refuses_other_channels(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} works on .* these have 4"):
        AUGMENTS[name]()(np.zeros((8, 4, 4, 4), np.float32), rows())


@pytest.mark.parametrize("name", AUGMENTS)
def test_refuses_a_bad_probability(name: str) -> None:
    for value in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"probability={value} must be"):
            AUGMENTS[name](probability=value)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("random_shift", {"fraction": 1.5}, "fraction=1.5 .* in \\[0, 1\\]"),
        ("random_shift", {"fill": 256}, "fill=256 must be a pixel value"),
        ("random_rotation", {"degrees": 181}, "degrees=181 .* \\[0, 180\\]"),
        (
            "random_rotation",
            {"interpolation": "cubic"},
            "interpolation='cubic'",
        ),
        ("random_zoom", {"low": 0.05}, "low=0.05 .* 0.1 <= low"),
        ("random_zoom", {"low": 1.5}, "low=1.5 and high=1.25"),
        ("random_shear", {"degrees": 80}, "degrees=80 .* \\[0, 60\\]"),
        ("random_brightness", {"strength": 1.2}, "strength=1.2 .* \\[0, 1\\]"),
        ("random_hue", {"strength": 0.6}, "strength=0.6 .* \\[0, 0.5\\]"),
        ("random_posterise", {"bits": 0}, "bits=0 must be in 1..8"),
        ("random_solarise", {"threshold": 300}, "threshold=300 .* 0..256"),
        ("random_erasing", {"smallest": 0.0}, "smallest=0.0 .* shares"),
        ("random_erasing", {"largest": 0.01}, "largest=0.01 must be"),
        ("random_erasing", {"aspect": 0}, "aspect=0 must be in \\(0, 1\\]"),
        ("random_erasing", {"fill": "grey"}, "fill='grey' .* or 'noise'"),
        ("random_erasing", {"fill": -1.0}, "fill=-1.0 must be a pixel value"),
        ("rand_augment", {"num_ops": 0}, "num_ops=0 must be at least 1"),
        ("rand_augment", {"magnitude": 31}, "magnitude=31 must be in 0..30"),
        ("trivial_augment", {"fill": 300}, "fill=300 must be a pixel value"),
        ("auto_augment", {"policy": "svhn"}, "policy='svhn' must be one of"),
    ],
)
def test_refuses_bad_values(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AUGMENTS[name](**arguments)
