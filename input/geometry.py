"""Augmentations that move pixels: shift, rotation, zoom and shear.

Each works on whole levels and gives whole levels. Amounts other than shifts are
drawn from evenly spaced ones, whose maps are made beforehand (input/affine.py).
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from input import affine, augment

_STEPS = 256
_SHEAR_STEPS = 64  # Of each of the two shears: 4,096 maps.


def random_shift(
    fraction: float = 0.1, fill: float = 0.0, probability: float = 1.0
) -> augment.Augment:
    """Shifts images by whole pixels, in both directions independently.

    Args:
        fraction: Largest shift in the width and the height, as a share of
            them, in [0, 1].
        fill: Pixel value of what moves in, 0..255.
        probability: Share of images to shift, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction={fraction} must be in [0, 1].")

    def maps(rows: augment.Rows, height: int, width: int) -> tf.Tensor:
        def start(name: str, length: int) -> tf.Tensor:
            furthest = round(fraction * length)
            pixels = rows.uniform(
                f"random_shift/{name}", -furthest, furthest + 1, tf.int32
            )
            return pixels * affine.ONE + affine.ONE // 2

        one = tf.fill([rows.count], affine.ONE)
        across, down = start("left", width), start("top", height)
        none = tf.zeros_like(one)
        return tf.stack([one, none, across, none, one, down], axis=1)

    return _random("random_shift", maps, "nearest", fill, probability)


def random_rotation(
    degrees: float = 15.0,
    interpolation: affine.Interpolation = "bilinear",
    fill: float = 0.0,
    probability: float = 1.0,
) -> augment.Augment:
    """Turns images about their middle.

    Args:
        degrees: Largest turn in either direction, in [0, 180].
        interpolation: `nearest` or `bilinear`.
        fill: Pixel value of the corners that come in, 0..255.
        probability: Share of images to turn, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0 <= degrees <= 180:
        raise ValueError(f"degrees={degrees} must be in [0, 180].")
    linear = affine.rotation(np.linspace(-degrees, degrees, _STEPS))
    return _random(
        "random_rotation",
        _drawn_from("random_rotation", linear),
        interpolation,
        fill,
        probability,
    )


def random_zoom(
    low: float = 0.8,
    high: float = 1.25,
    interpolation: affine.Interpolation = "bilinear",
    fill: float = 0.0,
    probability: float = 1.0,
) -> augment.Augment:
    """Enlarges or shrinks what is in the image, about its middle.

    Args:
        low: Smallest factor, at least 0.1; below 1 shrinks.
        high: Largest factor, from `low` to 10; above 1 enlarges.
        interpolation: `nearest` or `bilinear`.
        fill: Pixel value of the frame around a smaller picture, 0..255.
        probability: Share of images to zoom, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0.1 <= low <= high <= 10:
        raise ValueError(
            f"low={low} and high={high} must be 0.1 <= low <= high <= 10."
        )
    inverse = 1 / np.linspace(low, high, _STEPS)
    none = np.zeros(_STEPS)
    linear = np.stack([inverse, none, none, inverse], axis=1)
    return _random(
        "random_zoom",
        _drawn_from("random_zoom", linear),
        interpolation,
        fill,
        probability,
    )


def random_shear(
    degrees: float = 10.0,
    interpolation: affine.Interpolation = "bilinear",
    fill: float = 0.0,
    probability: float = 1.0,
) -> augment.Augment:
    """Leans images sideways and up or down, each by an angle of its own.

    Args:
        degrees: Largest angle in either direction, in [0, 60].
        interpolation: `nearest` or `bilinear`.
        fill: Pixel value of what comes in, 0..255.
        probability: Share of images to shear, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0 <= degrees <= 60:
        raise ValueError(f"degrees={degrees} must be in [0, 60].")
    lean = np.tan(np.radians(np.linspace(-degrees, degrees, _SHEAR_STEPS)))
    sideways, upward = (m.ravel() for m in np.meshgrid(lean, lean))
    one = np.ones_like(sideways)
    linear = np.stack([one, sideways, upward, one], axis=1)
    return _random(
        "random_shear",
        _drawn_from("random_shear", linear),
        interpolation,
        fill,
        probability,
    )


_Maps = Callable[[augment.Rows, int, int], tf.Tensor]


def _drawn_from(name: str, linear: np.ndarray) -> _Maps:
    """Returns what draws a map for each row: int32 [b, 6].

    Args:
        name: Of the draw.
        linear: float64 [n, 4], as for `affine.about_centre`.
    """

    def maps(rows: augment.Rows, height: int, width: int) -> tf.Tensor:
        all_maps = affine.fixed(affine.about_centre(linear, height, width))
        number = rows.uniform(f"{name}/amount", 0, len(linear), tf.int32)
        return tf.gather(all_maps, number)

    return maps


def _random(
    name: str,
    maps: _Maps,
    interpolation: affine.Interpolation,
    fill: float,
    probability: float,
) -> augment.Augment:
    """Resamples some of the images."""
    affine.check(interpolation, fill)
    augment.check_probability(probability)
    identity = affine.fixed(np.array([1, 0, 0, 0, 1, 0]))

    # Compiled also where the step is not (see input/operations.py).
    @tf.function(jit_compile=True, autograph=False)
    def compiled(images: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        moved = affine.resample(
            tf.cast(images, tf.uint8), chosen, interpolation, round(fill)
        )
        return tf.cast(moved, tf.float32)

    def apply(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
        _, height, width, _ = images.shape
        chosen = rows.uniform(f"{name}/chance") < probability
        drawn = maps(rows, height, width)
        return compiled(images, tf.where(chosen[:, None], drawn, identity))

    return apply
