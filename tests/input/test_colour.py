import numpy as np
import pytest
import tensorflow as tf

from input import augment, colour
from input.menu import Choice
from input.menu import Operation as Op
from tests.input import pillow

COUNT = 100

pytestmark = pytest.mark.usefixtures("eager")


def rows(count: int = COUNT) -> augment.Rows:
    return augment.Rows(tf.constant([1, 1]), tf.constant(0), count, count)


def of_one_picture(apply: augment.Augment) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture, uint8, and what became of each of its copies."""
    picture = pillow.pictures(20, 24)[0]
    images = np.tile(picture.astype(np.float32), (COUNT, 1, 1, 1))
    return picture, apply(images, rows()).numpy()


BY_FACTOR = {
    Op.BRIGHTNESS: colour.random_brightness,
    Op.CONTRAST: colour.random_contrast,
    Op.SATURATION: colour.random_saturation,
    Op.SHARPNESS: colour.random_sharpness,
}


@pytest.mark.parametrize("operation", BY_FACTOR)
def test_factors_are_spread_over_the_range(operation: Op) -> None:
    picture, found = of_one_picture(BY_FACTOR[operation](strength=0.5))
    # Each copy is what Pillow makes of the picture with one of 256 factors.
    factors = np.linspace(0.5, 1.5, 256)
    known = np.stack(
        [pillow.done(picture, Choice(operation, f)) for f in factors]
    ).astype(np.float32)
    nearest = np.array(
        [np.abs(known - f).sum((1, 2, 3)).argmin() for f in found]
    )
    assert np.abs(known[nearest] - found).max() <= 1
    chosen = factors[nearest]
    assert chosen.min() < 0.55
    assert chosen.max() > 1.45
    assert abs(chosen.mean() - 1) < 0.1
    assert abs(chosen.std() - 1 / np.sqrt(12)) < 0.05


def test_hues_turn_by_up_to_the_strength() -> None:
    picture, found = of_one_picture(colour.random_hue(strength=0.2))
    turns = np.arange(-51, 52) / 255
    known = np.stack([pillow.done(picture, Choice(Op.HUE, t)) for t in turns])
    off = np.abs(known[None].astype(int) - found[:, None]).mean((2, 3, 4))
    assert off.min(1).max() < 0.1
    chosen = turns[off.argmin(1)]
    assert chosen.min() < -0.18
    assert chosen.max() > 0.18
    assert abs(chosen.mean()) < 0.04


SOMETIMES = {
    "grey": (colour.random_grey, {}, Choice(Op.SATURATION, 0)),
    "invert": (colour.random_invert, {}, Choice(Op.INVERT)),
    "posterise": (
        colour.random_posterise,
        {"bits": 3},
        Choice(Op.POSTERISE, 3),
    ),
    "solarise": (
        colour.random_solarise,
        {"threshold": 100},
        Choice(Op.SOLARISE, 100),
    ),
    "auto_contrast": (
        colour.random_auto_contrast,
        {},
        Choice(Op.AUTO_CONTRAST),
    ),
    "equalise": (colour.random_equalise, {}, Choice(Op.EQUALISE)),
}


@pytest.mark.parametrize("name", SOMETIMES)
def test_some_images_change_and_as_pillow_does(name: str) -> None:
    make, arguments, choice = SOMETIMES[name]
    picture, found = of_one_picture(make(**arguments, probability=0.3))
    expected = pillow.done(picture, choice).astype(np.float32)
    assert (expected != picture).any()
    same = (found == picture).all((1, 2, 3))
    assert 0.18 < 1 - same.mean() < 0.42
    assert np.abs(found[~same] - expected).max() <= 1
    assert (found[~same] != expected).mean() < 5e-3


def test_grey_has_three_equal_channels() -> None:
    images = pillow.pictures(8, 8).astype(np.float32)
    found = colour.random_grey(1.0)(images, rows(4)).numpy()
    assert (found == found[..., :1]).all()
