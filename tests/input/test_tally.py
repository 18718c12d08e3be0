"""Tests of input/tally.py."""

import numpy as np
import pytest

from input.tally import Tally


def make_images(channels, count=5):
    rng = np.random.default_rng(channels)
    return [
        rng.integers(0, 256, [3 + i, 7 - i, channels], np.uint8)
        for i in range(count)
    ]


def tally_of(images, label=0):
    tally = Tally.empty(2)
    for image in images:
        tally.add(image, "png", label, pixels=True)
    return tally


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_std(channels):
    images = make_images(channels)
    pixels = np.concatenate([image.reshape(-1, channels) for image in images])
    mean, std = tally_of(images).mean_and_std(channels)
    assert mean == pytest.approx(pixels.mean(axis=0), rel=1e-14)
    assert std == pytest.approx(pixels.std(axis=0), rel=1e-14)


def test_a_grey_image_counts_in_every_channel_of_rgb():
    grey, colour = make_images(1), make_images(3)
    pixels = np.concatenate(
        [image.repeat(3, axis=2).reshape(-1, 3) for image in grey]
        + [image.reshape(-1, 3) for image in colour]
    )
    tally = tally_of(grey + colour)
    mean, std = tally.mean_and_std(3)
    assert mean == pytest.approx(pixels.mean(axis=0), rel=1e-14)
    assert std == pytest.approx(pixels.std(axis=0), rel=1e-14)
    assert tally.channels == {1, 3}


def test_one_colour_has_a_deviation_of_exactly_0():
    """Floating-point sums could make the variance negative: NaN."""
    image = np.full([1000, 1000, 1], 77, np.uint8)
    assert tally_of([image]).mean_and_std(1) == ((77.0,), (0.0,))


def test_counts_and_sizes():
    tally = Tally.empty(3)
    tally.add(np.zeros([4, 9, 3], np.uint8), "jpeg", 2, pixels=False)
    tally.add(np.zeros([6, 5, 1], np.uint8), "png", 0, pixels=False)
    assert tally.examples == 2
    assert tally.label_counts.tolist() == [1, 0, 1]
    assert tally.formats == {"jpeg", "png"}
    assert (tally.smallest, tally.largest) == ((4, 5), (6, 9))
    assert tally.pixels == 0 and tally.squares.tolist() == [0, 0, 0]


def test_sums_of_a_very_tall_white_image_do_not_overflow():
    tally = tally_of([np.full([70_000, 1, 3], 255, np.uint8)])
    assert tally.squares.tolist() == [70_000 * 255**2] * 3
    assert tally.mean_and_std(3) == ((255.0,) * 3, (0.0,) * 3)


def test_merge_in_any_order_is_the_same_to_the_bit():
    images = make_images(1) + make_images(3)
    whole = tally_of(images)
    for order in (slice(None), slice(None, None, -1)):
        merged = Tally.empty(2)
        for image in images[order]:
            merged.merge(tally_of([image]))
        merged.merge(Tally.empty(2))
        assert merged.mean_and_std(3) == whole.mean_and_std(3)
        assert merged.label_counts.tolist() == [10, 0]
        assert merged.smallest == whole.smallest == (3, 3)
        assert merged.largest == whole.largest == (7, 7)
