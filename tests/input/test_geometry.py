import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input import affine, augment, geometry
from tests.input import pillow

COUNT = 400


def rows(count: int = COUNT) -> augment.Rows:
    return augment.Rows(tf.constant([1, 1]), tf.constant(0), count, count)


def ramps(height: int, width: int) -> np.ndarray:
    """Pixels that tell their column and row: float32 [COUNT, h, w, 3]."""
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    picture = np.stack([column, row, np.full_like(row, 200)], -1)
    return np.tile(picture.astype(np.float32), (COUNT, 1, 1, 1))


@pytest.mark.parametrize(
    ("matrix", "what"),
    [
        ((0.96, 0.29, -5.3, -0.29, 0.96, 9.1), "turned"),
        ((1.3, 0, -9.6, 0, 1.3, -14.4), "smaller"),
        ((0.7, 0, 9.6, 0, 0.7, 14.4), "larger"),
        ((1, 0.4, -8, -0.2, 1, 3.5), "sheared"),
    ],
)
@pytest.mark.parametrize("channels", [3, 1])
def test_resamples_as_pillow(matrix, what: str, channels: int) -> None:
    pictures = pillow.pictures(64, 96, channels)
    maps = tf.constant(np.tile(affine.fixed(np.array(matrix)), (4, 1)))
    # The largest difference in levels, and the share that differs at all.
    for interpolation, pil, levels, share in (
        ("nearest", Image.Resampling.NEAREST, 255, 1e-4),
        ("bilinear", Image.Resampling.BILINEAR, 1, 0.06),
    ):
        found = affine.resample(pictures, maps, interpolation, 50).numpy()
        expected = [
            np.asarray(
                Image.fromarray(p.squeeze()).transform(
                    (96, 64),
                    Image.Transform.AFFINE,
                    matrix,
                    pil,
                    fillcolor=50 if channels == 1 else (50,) * 3,
                )
            ).reshape(p.shape)
            for p in pictures
        ]
        off = np.abs(found.astype(int) - np.stack(expected))
        outside = np.mean(np.stack(expected) == 50)
        assert outside < 0.5
        # Where an edge of the picture falls on a pixel's middle, rounding
        # decides whether it is inside: not one of these cases.
        assert off.max() <= levels
        assert (off > 0).mean() <= share


def test_shift_is_whole_pixels_either_way() -> None:
    images = ramps(10, 20)
    found = geometry.random_shift(0.2, fill=255)(images, rows()).numpy()
    seen = set()
    for picture in found:
        inside = picture[..., 2] == 200
        moved = np.argwhere(inside)[0]
        column, row = picture[tuple(moved)][:2]
        across, down = int(moved[1] - column), int(moved[0] - row)
        expected = np.full((10, 20, 3), 255.0)
        expected[max(down, 0) : 10 + down, max(across, 0) : 20 + across] = (
            images[0, max(-down, 0) : 10 - down, max(-across, 0) : 20 - across]
        )
        np.testing.assert_array_equal(picture, expected)
        seen.add((across, down))
    assert {a for a, _ in seen} == set(range(-4, 5))
    assert {d for _, d in seen} == set(range(-2, 3))
    assert len(seen) > 35  # Of 45: the two are independent.


def corners(picture: np.ndarray) -> np.ndarray:
    """Fits where the pixels of a picture of ramps come from: [2, 3]."""
    inside = picture[..., 2] == 200
    row, column = np.nonzero(inside)
    place = np.stack([column, row, np.ones_like(row)], 1)
    fitted, *_ = np.linalg.lstsq(place, picture[inside][:, :2], rcond=None)
    return fitted.T


def test_rotation_turns_by_up_to_the_angle() -> None:
    apply = geometry.random_rotation(20.0, interpolation="bilinear")
    angles = []
    for picture in apply(ramps(40, 40), rows()).numpy():
        linear = corners(picture)[:, :2]
        np.testing.assert_allclose(linear @ linear.T, np.eye(2), atol=0.03)
        angles.append(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
    assert -20.3 < min(angles) < -18
    assert 18 < max(angles) < 20.3
    assert abs(np.mean(angles)) < 2


def test_zoom_is_about_the_middle() -> None:
    apply = geometry.random_zoom(0.5, 2.0, interpolation="nearest")
    factors = []
    for picture in apply(ramps(41, 41), rows()).numpy():
        fitted = corners(picture)
        np.testing.assert_allclose(fitted[0, 0], fitted[1, 1], atol=0.02)
        factors.append(1 / fitted[0, 0])
        np.testing.assert_allclose(picture[20, 20, :2], 20, atol=1)
    assert 0.48 < min(factors) < 0.55
    assert 1.9 < max(factors) < 2.1
    assert 1.15 < np.mean(factors) < 1.35


def test_shear_leans_both_ways_independently() -> None:
    apply = geometry.random_shear(20.0, interpolation="bilinear")
    leans = []
    for picture in apply(ramps(40, 40), rows()).numpy():
        linear = corners(picture)[:, :2]
        np.testing.assert_allclose(np.diag(linear), 1, atol=0.04)
        leans.append([linear[0, 1], linear[1, 0]])
    found = np.degrees(np.arctan(leans))
    assert (np.abs(found) < 21).all()
    assert (found.min(0) < -17).all()
    assert (found.max(0) > 17).all()
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.15


def test_what_comes_in_from_outside_is_filled() -> None:
    apply = geometry.random_zoom(0.5, 0.5, fill=77.0)
    found = apply(np.zeros((4, 8, 8, 1), np.float32), rows(4)).numpy()
    np.testing.assert_array_equal(found[:, :2], 77)
    np.testing.assert_array_equal(found[:, 2:6, 2:6], 0)
