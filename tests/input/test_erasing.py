import numpy as np
import pytest
import tensorflow as tf

from input import augment, erasing

COUNT = 2000

pytestmark = pytest.mark.usefixtures("eager")


def erased(
    height: int, width: int, channels: int = 1, **arguments
) -> np.ndarray:
    """What becomes of black images, float32 [COUNT, h, w, c]."""
    images = np.zeros((COUNT, height, width, channels), np.float32)
    rows = augment.Rows(tf.constant([1, 1]), tf.constant(0), COUNT, COUNT)
    return erasing.random_erasing(**arguments)(images, rows).numpy()


def sides(found: np.ndarray) -> np.ndarray:
    """Heights and widths of the rectangles, checked to be filled: [n, 2]."""
    measured = []
    for mask in (found != 0).any(-1):
        if not mask.any():
            continue
        down, across = mask.any(1), mask.any(0)
        assert mask.sum() == down.sum() * across.sum()
        for side in (down, across):
            assert np.ptp(np.flatnonzero(side)) == side.sum() - 1
        measured.append([down.sum(), across.sum()])
    return np.array(measured)


def test_areas_and_shapes() -> None:
    found = sides(erased(40, 60, probability=0.5, fill=9.0))
    assert 0.46 < len(found) / COUNT < 0.54
    area = found.prod(1) / (40 * 60)
    assert 0.017 < area.min() < 0.03
    assert 0.30 < area.max() < 0.35
    assert abs(area.mean() - 0.175) < 0.01
    shape = found[:, 0] / found[:, 1]
    assert 0.25 < shape.min() < 0.35
    assert 2.6 < shape.max() < 3.9
    # High and wide ones alike, but for the largest: they must fit.
    assert 0.4 < np.mean(shape > 1) < 0.52


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 5)])
def test_fits_into_any_image(size: tuple[int, int]) -> None:
    found = sides(erased(*size, probability=1.0, fill=1.0, largest=1.0))
    assert len(found) == COUNT
    assert (found >= 1).all()
    assert (found <= size).all()


def test_places_are_spread_to_the_edges() -> None:
    found = erased(16, 16, probability=1.0, fill=1.0)[..., 0].mean(0)
    assert found.min() > 0.005
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=0.06)


def test_noise_is_even_and_of_each_image() -> None:
    found = erased(24, 24, 3, probability=1.0, smallest=0.3)[:200]
    levels = found[found != 0]
    assert levels.max() == 255
    np.testing.assert_array_equal(levels, np.round(levels))
    counts, _ = np.histogram(levels, bins=15, range=(1, 256))
    assert counts.min() > 0.97 * counts.mean()
    both = (found[0] != 0) & (found[1] != 0)
    assert np.mean(found[0][both] == found[1][both]) < 0.05
    neighbours = np.corrcoef(
        found[:, 12, 11:13, 0][(found[:, 12, 11:13, 0] != 0).all(1)].T
    )
    assert abs(neighbours[0, 1]) < 0.3
