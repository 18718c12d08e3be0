"""Random erasing: a rectangle of each image is overwritten."""

import math
from typing import Literal

import tensorflow as tf

from input import augment

Fill = float | Literal["noise"]


def random_erasing(
    probability: float = 0.5,
    smallest: float = 0.02,
    largest: float = 0.33,
    aspect: float = 0.3,
    fill: Fill = "noise",
) -> augment.Augment:
    """Overwrites a rectangle at a random place, all of it inside the image.

    Its area is drawn first, then its shape among those that fit.

    Args:
        probability: Share of images to change, in [0, 1].
        smallest: Smallest area, as a share of the image, above 0.
        largest: Largest area, from `smallest` to 1.
        aspect: Height by width is in [aspect, 1 / aspect]; in (0, 1].
        fill: Pixel value to put there, 0..255, or `noise`: a random value for
            each pixel and channel.

    Raises:
        ValueError: An argument is out of range.

    Source: Zhong et al. 2017, arXiv:1708.04896.
    """
    augment.check_probability(probability)
    if not 0 < smallest <= largest <= 1:
        raise ValueError(
            f"smallest={smallest} and largest={largest} must be "
            "0 < smallest <= largest <= 1, shares of the area."
        )
    if not 0 < aspect <= 1:
        raise ValueError(f"aspect={aspect} must be in (0, 1].")
    if isinstance(fill, str):
        if fill != "noise":
            raise ValueError(
                f"fill={fill!r} must be a pixel value in 0..255 or 'noise'."
            )
    else:
        augment.check_fill(fill)

    # Compiled also where the step is not (see input/operations.py).
    @tf.function(jit_compile=True, autograph=False)
    def compiled(
        images: tf.Tensor, erased: tf.Tensor, key: tf.Tensor
    ) -> tf.Tensor:
        if fill == "noise":
            return tf.where(erased, _noise(images.shape, key), images)
        return tf.where(erased, tf.constant(fill, tf.float32), images)

    def apply(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
        _, height, width, _ = images.shape
        sides = _sides(rows, height, width, (smallest, largest), aspect)
        down = _inside(rows, "random_erasing/top", height, sides[0])
        across = _inside(rows, "random_erasing/left", width, sides[1])
        chosen = rows.uniform("random_erasing/chance") < probability
        # [b, height, width, 1]
        erased = (chosen[:, None, None] & down[:, :, None] & across[:, None])[
            ..., None
        ]
        key = rows.uniform("random_erasing/key", 0, 2**31 - 1, tf.int32)
        return compiled(images, erased, key)

    return apply


def _sides(
    rows: augment.Rows,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws rectangles that fit: their heights and widths, int32 [b]."""
    share = rows.uniform("random_erasing/area", *area)
    pixels = share * float(height * width)
    # Height by width, as logarithms; at both ends one side is all there is.
    most = tf.minimum(-math.log(aspect), tf.math.log(height**2 / pixels))
    least = tf.maximum(math.log(aspect), tf.math.log(pixels / width**2))
    place = rows.uniform("random_erasing/aspect")
    shape = tf.exp(tf.minimum(least, most) + (most - least) * place)

    def side(length: tf.Tensor, longest: int) -> tf.Tensor:
        return tf.clip_by_value(tf.cast(tf.round(length), tf.int32), 1, longest)

    return side(tf.sqrt(pixels * shape), height), side(
        tf.sqrt(pixels / shape), width
    )


def _inside(
    rows: augment.Rows, name: str, length: int, side: tf.Tensor
) -> tf.Tensor:
    """Returns bool [b, length]: a stretch of `side` at a random place."""
    free = tf.cast(length - side + 1, tf.float32)
    start = tf.cast(tf.floor(rows.uniform(name) * free), tf.int32)[:, None]
    place = tf.range(length)[None]
    return (place >= start) & (place < start + side[:, None])


def _noise(shape: tf.TensorShape, key: tf.Tensor) -> tf.Tensor:
    """Returns whole levels 0..255, a hash of image and place: float32.

    Not drawn, since a draw is for the global batch: all its pixels, on each
    replica.

    Args:
        shape: [b, height, width, channels].
        key: int32 [b].
    """
    _, height, width, channels = shape
    place = tf.range(height * width * channels)
    # Both are mixed before they meet: neighbours must not look alike.
    bits = _mix(_mix(key)[:, None] ^ _mix(place))
    level = tf.cast(tf.bitwise.right_shift(bits, 24), tf.float32)
    return tf.reshape(level, [-1, height, width, channels])


def _mix(bits: tf.Tensor) -> tf.Tensor:
    """Scrambles 32 bits: MurmurHash3's finaliser (Appleby 2011); uint32."""
    bits = tf.bitcast(bits, tf.uint32)
    bits = (bits ^ tf.bitwise.right_shift(bits, 16)) * 0x85EBCA6B
    bits = (bits ^ tf.bitwise.right_shift(bits, 13)) * 0xC2B2AE35
    return bits ^ tf.bitwise.right_shift(bits, 16)
