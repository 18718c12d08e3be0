import numpy as np
import pytest
import tensorflow as tf

from input import menu, operations
from input.menu import Choice
from input.menu import Operation as Op
from tests.input import pillow

# Amounts, the largest difference in levels, and the largest share of values
# that differ at all. With Pillow 13 only HUE and AUTO_CONTRAST differ.
CASES = {
    Op.IDENTITY: ([0], 0, 0),
    Op.SHEAR_X: ([0.3, -0.09, 0.99], 255, 1e-4),
    Op.SHEAR_Y: ([-0.3, 0.09, -0.99], 255, 1e-4),
    Op.TRANSLATE_X: ([13, -13, 32], 0, 0),
    Op.TRANSLATE_Y: ([5, -32], 0, 0),
    Op.ROTATE: ([9, -30, 135, 0.7], 255, 1e-4),
    Op.BRIGHTNESS: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 1e-3),
    Op.SATURATION: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 1e-3),
    Op.CONTRAST: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 1e-3),
    Op.SHARPNESS: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 1e-3),
    Op.HUE: ([-0.5, -0.1, 0.02, 0.1, 0.4], 6, 5e-3),
    Op.POSTERISE: ([1, 2, 4, 7, 8], 0, 0),
    Op.SOLARISE: ([0, 100, 178.5, 256], 0, 0),
    Op.AUTO_CONTRAST: ([0], 1, 5e-3),
    Op.EQUALISE: ([0], 0, 0),
    Op.INVERT: ([0], 0, 0),
}
ALL = [Choice(op, a) for op, case in CASES.items() for a in case[0]]


def apply(
    images: np.ndarray,
    numbers: np.ndarray,
    of: menu.Menu,
    fill: int = 0,
    one_by_one: bool = False,
    jit_compile: bool = True,
) -> np.ndarray:
    @tf.function(jit_compile=jit_compile, autograph=False)
    def call(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return operations.apply(
            images, numbers, of, "nearest", fill, one_by_one
        )

    return call(tf.constant(images), tf.constant(numbers, tf.int32)).numpy()


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_does_what_pillow_does(size: tuple[int, int], channels: int) -> None:
    pictures = pillow.pictures(*size, channels)
    # Each picture through each choice: [choices * pictures].
    number = np.repeat(np.arange(len(ALL)), len(pictures)).astype(np.int32)
    images = np.tile(pictures, (len(ALL), 1, 1, 1))
    found = apply(images, number[None], menu.make(ALL, *size), fill=100)
    report = {}
    for i, choice in enumerate(ALL):
        expected = [pillow.done(p, choice, fill=100) for p in pictures]
        got = found[number == i].astype(int)
        off = np.abs(got - np.stack(expected))
        report[choice] = (off.max(), (off > 0).mean())
    assert {
        choice: (levels, share)
        for choice, (levels, share) in report.items()
        if levels > CASES[choice.operation][1]
        or share > CASES[choice.operation][2]
    } == {}


@pytest.mark.parametrize("channels", [3, 1])
def test_one_by_one_and_all_at_once_are_the_same(channels: int) -> None:
    number = np.random.default_rng(0).permutation(len(ALL))
    pictures = pillow.pictures(20, 24, channels)
    images = np.resize(pictures, (len(ALL), *pictures.shape[1:]))
    of = menu.make(ALL, 20, 24)
    layers = np.stack([number, number[::-1]])
    at_once = apply(images, layers, of)
    np.testing.assert_array_equal(
        at_once, apply(images, layers, of, one_by_one=True)
    )
    graph = apply(images, layers, of, jit_compile=False)
    np.testing.assert_array_equal(at_once, graph)


def test_layers_go_in_order() -> None:
    choices = [Choice(Op.BRIGHTNESS, 2), Choice(Op.INVERT)]
    images = pillow.pictures(8, 8)
    found = apply(images, np.tile([[0], [1]], 4), menu.make(choices, 8, 8))
    bright = [pillow.done(picture, choices[0]) for picture in images]
    np.testing.assert_array_equal(found, 255 - np.stack(bright))


def test_images_that_leave_nothing_to_stretch_stay() -> None:
    choices = [Choice(Op.AUTO_CONTRAST), Choice(Op.EQUALISE)]
    flat = np.full((2, 16, 16, 3), [7, 0, 255], np.uint8)
    found = apply(flat, np.array([[0, 1]]), menu.make(choices, 16, 16))
    np.testing.assert_array_equal(found, flat)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3)])
def test_tiny_images(size: tuple[int, int]) -> None:
    images = pillow.pictures(16, 16)[:, : size[0], : size[1]]
    choices = [Choice(Op.SHARPNESS, 1.9), Choice(Op.SHEAR_X, 0.3)]
    for i, choice in enumerate(choices):
        found = apply(images, np.full((1, 4), i), menu.make(choices, *size))
        expected = [pillow.done(picture, choice) for picture in images]
        np.testing.assert_array_equal(found, np.stack(expected))
