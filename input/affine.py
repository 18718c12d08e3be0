"""Where each pixel of a picture comes from: affine maps, as Pillow has them.

A map is six whole numbers in 1 / 65536 pixel: the pixel in column x and row y
of the result comes from column ``(m[2] + m[0] * x + m[1] * y) >> 16`` and row
``(m[5] + m[3] * x + m[4] * y) >> 16`` of the picture. Pillow computes nearest
neighbours in the same numbers. Places must stay within 32,768 pixels.
"""

import typing
from typing import Literal

import numpy as np
import tensorflow as tf

from input import augment

Interpolation = Literal["nearest", "bilinear"]
ONE = 1 << 16


def fixed(matrix: np.ndarray) -> np.ndarray:
    """Returns the map of the matrix that Image.transform takes.

    Args:
        matrix: float64 [..., 6], from the middle of a pixel of the result to a
            place in the picture, in pixels.

    Returns:
        int32 [..., 6].
    """
    moved = np.array(matrix, np.float64)
    moved[..., 2] += (moved[..., 0] + moved[..., 1]) / 2
    moved[..., 5] += (moved[..., 3] + moved[..., 4]) / 2
    return np.floor(moved * ONE + 0.5).astype(np.int32)


def rotation(degrees: np.ndarray) -> np.ndarray:
    """Returns what turns pictures anticlockwise: float64 [..., 4].

    Args:
        degrees: float64 [...].
    """
    angle = -np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos, sin, -sin, cos], axis=-1)


def about_centre(linear: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the matrices that leave the middle of the picture in its place.

    Args:
        linear: float64 [..., 4]: what is 0, 1, 3 and 4 of the matrix.
        height: Of the picture.
        width: Of the picture.

    Returns:
        float64 [..., 6].
    """
    x, y = width / 2, height / 2
    a, b, d, e = np.moveaxis(np.asarray(linear, np.float64), -1, 0)
    return np.stack([a, b, x - a * x - b * y, d, e, y - d * x - e * y], axis=-1)


def check(interpolation: str, fill: float) -> None:
    """Raises a ValueError for an unknown interpolation or a bad pixel value."""
    known = typing.get_args(Interpolation)
    if interpolation not in known:
        raise ValueError(
            f"interpolation={interpolation!r} must be one of {known}."
        )
    augment.check_fill(fill)


def resample(
    images: tf.Tensor,
    maps: tf.Tensor,
    interpolation: Interpolation,
    fill: int,
) -> tf.Tensor:
    """Returns each picture as seen through its map.

    Args:
        images: uint8 [b, height, width, channels].
        maps: int32 [b, 6].
        interpolation: `nearest`: the pixel that is there; `bilinear`: weighs
            the four around, in steps of 1 / 2048 pixel, and drops fractions of
            a level.
        fill: Level of what comes from outside the picture, 0..255.

    Returns:
        uint8 of the shape of images.
    """
    _, height, width, _ = images.shape
    m = maps[:, :, None, None]
    x, y = tf.range(width)[None, None], tf.range(height)[None, :, None]
    # [b, height, width]: where each pixel comes from, in 1 / 65536 pixel.
    across = (m[:, 2] + m[:, 0] * x) + m[:, 1] * y
    down = (m[:, 5] + m[:, 3] * x) + m[:, 4] * y
    if interpolation == "nearest":
        return _nearest(images, across, down, fill)
    return _bilinear(images, across, down, fill)


def _nearest(
    images: tf.Tensor, across: tf.Tensor, down: tf.Tensor, fill: int
) -> tf.Tensor:
    _, height, width, channels = images.shape
    # A frame of `fill`: all that comes from outside comes from there.
    framed = tf.pad(
        images,
        [[0, 0], [1, 1], [1, 1], [0, 0]],
        constant_values=tf.constant(fill, tf.uint8),
    )
    column = tf.clip_by_value(_whole(across), -1, width) + 1
    row = tf.clip_by_value(_whole(down), -1, height) + 1
    pixels = tf.reshape(framed, [-1, (height + 2) * (width + 2), channels])
    return tf.gather(pixels, row * (width + 2) + column, batch_dims=1)


def _bilinear(
    images: tf.Tensor, across: tf.Tensor, down: tf.Tensor, fill: int
) -> tf.Tensor:
    _, height, width, channels = images.shape
    pixels = tf.reshape(images, [-1, height * width, channels])
    # From middles of pixels to middles of pixels.
    left, up = across - ONE // 2, down - ONE // 2

    def corner(right: int, below: int) -> tf.Tensor:
        column = tf.clip_by_value(_whole(left) + right, 0, width - 1)
        row = tf.clip_by_value(_whole(up) + below, 0, height - 1)
        taken = tf.gather(pixels, row * width + column, batch_dims=1)
        return tf.cast(taken, tf.int32)

    # [b, height, width, 1], in 1 / 2048 pixel.
    to_right = tf.bitwise.bitwise_and(left, ONE - 1)[..., None] // 32
    to_below = tf.bitwise.bitwise_and(up, ONE - 1)[..., None] // 32
    upper = corner(0, 0) * (2048 - to_right) + corner(1, 0) * to_right
    lower = corner(0, 1) * (2048 - to_right) + corner(1, 1) * to_right
    mixed = upper * (2048 - to_below) + lower * to_below
    column, row = _whole(across), _whole(down)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    value = tf.where(inside[..., None], tf.bitwise.right_shift(mixed, 22), fill)
    return tf.cast(value, tf.uint8)


def _whole(place: tf.Tensor) -> tf.Tensor:
    """Returns whole pixels, rounded down."""
    return tf.bitwise.right_shift(place, 16)
