import numpy as np
import pytest
import tensorflow as tf

from input import augment, menu, operations
from input.menu import Choice
from input.menu import Operation as Op
from tests.input import pillow

# Amounts, the largest difference in levels, and the largest share of values
# that differ at all.
CASES = {
    Op.IDENTITY: ([0], 0, 0),
    Op.SHEAR_X: ([0.3, -0.09, 0.99], 255, 1e-3),
    Op.SHEAR_Y: ([-0.3, 0.09, -0.99], 255, 1e-3),
    Op.TRANSLATE_X: ([13, -13, 32], 0, 0),
    Op.TRANSLATE_Y: ([5, -32], 0, 0),
    Op.ROTATE: ([9, -30, 135, 0.7], 255, 1e-3),
    Op.BRIGHTNESS: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 0.02),
    Op.SATURATION: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 0.02),
    Op.CONTRAST: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 0.02),
    Op.SHARPNESS: ([0, 0.1, 0.73, 1, 1.27, 1.9, 2], 1, 0.02),
    Op.HUE: ([-0.5, -0.1, 0.02, 0.1, 0.4], 6, 0.02),
    Op.POSTERISE: ([1, 2, 4, 7, 8], 0, 0),
    Op.SOLARISE: ([0, 100, 178.5, 256], 0, 0),
    Op.AUTO_CONTRAST: ([0], 1, 0.02),
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
    for c, r in report.items(): print(c, r)
    assert {
        choice: (levels, share)
        for choice, (levels, share) in report.items()
        if levels > CASES[choice.operation][1]
        or share > CASES[choice.operation][2]
    } == {}
