"""How Pillow computes a pixel value, for a batch of images at a time.

Everything is in whole numbers: uint8 images [b, height, width, channels] of 1
or 3 channels, factors in units of 1 / `ONE`. Floating-point sums and products
round differently under XLA, which fuses them, and where a result is cut to a
whole level the last bit of a product decides about the level.
"""

import numpy as np
import tensorflow as tf

# Factors go to 2: 2 * ONE * 255 is the largest product and fits int32.
ONE = 1 << 22
_HALF_UNIT = 128  # What rounding a factor to 1 / ONE costs at level 255.
_LUMA = (19595, 38470, 7471)  # Red, green and blue in 1 / 65536 (ITU-R 601).


def check_channels(images: tf.Tensor, name: str) -> None:
    """Raises a ValueError unless images have 1 or 3 channels."""
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{name} works on pictures of 1 (grey) or 3 (RGB) channels; these "
            f"have {images.shape[-1]}. Take it out of train.augment."
        )


def blend(
    degenerate: tf.Tensor, images: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    """Goes from `degenerate` (0) over `images` (1) and beyond (2).

    As Image.blend does: fractions of a level are dropped.

    Args:
        degenerate: int32, broadcasts against images.
        images: int32.
        factor: int32 in [0, 2 * ONE], broadcasts against images.

    Returns:
        uint8 of the shape of images.
    """
    step = factor * (images - degenerate) + _HALF_UNIT
    mixed = degenerate + tf.bitwise.right_shift(step, 22)
    return tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)


def blend_numpy(degenerate: int, images: np.ndarray, factor: int) -> np.ndarray:
    """Does as `blend`, on the host; returns levels as int64."""
    step = factor * (images.astype(np.int64) - degenerate) + _HALF_UNIT
    return np.clip(degenerate + (step >> 22), 0, 255)


def luma(images: tf.Tensor) -> tf.Tensor:
    """Returns the grey picture of each image: int32 [b, h, w, 1]."""
    whole = tf.cast(images, tf.int32)
    if images.shape[-1] == 1:
        return whole
    weighted = tf.reduce_sum(whole * tf.constant(_LUMA), -1, keepdims=True)
    return tf.bitwise.right_shift(weighted + 0x8000, 16)


def mean_luma(images: tf.Tensor) -> tf.Tensor:
    """Returns the mean grey level, rounded: int32 [b].

    Images of up to four million pixels: twice their sum must fit int32.
    """
    pixels = images.shape[1] * images.shape[2]
    return (2 * tf.reduce_sum(luma(images), [1, 2, 3]) + pixels) // (2 * pixels)


def smooth(images: tf.Tensor) -> tf.Tensor:
    """Returns images blurred by Pillow's SMOOTH filter: int32.

    The pixel counts 5 and each of its eight neighbours 1; the outermost pixels
    stay as they are.
    """
    whole = tf.cast(images, tf.int32)
    if min(images.shape[1:3]) < 3:
        return whole
    down = whole[:, :-2] + whole[:, 1:-1] + whole[:, 2:]
    sums = down[:, :, :-2] + down[:, :, 1:-1] + down[:, :, 2:]
    inner = (2 * (sums + 4 * whole[:, 1:-1, 1:-1]) + 13) // 26
    middle = tf.concat([whole[:, 1:-1, :1], inner, whole[:, 1:-1, -1:]], 2)
    return tf.concat([whole[:, :1], middle, whole[:, -1:]], 1)


def look_up(images: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Replaces each level by what its table says.

    Args:
        images: uint8 [b, h, w, c].
        table: uint8 [b, c, 256].
    """
    channels = images.shape[-1]
    first = tf.range(tf.shape(images)[0] * channels) * 256
    place = tf.reshape(first, [-1, 1, 1, channels]) + tf.cast(images, tf.int32)
    return tf.gather(tf.reshape(table, [-1]), place)


def histogram(images: tf.Tensor) -> tf.Tensor:
    """Counts the pixels of each level: int32 [b, c, 256]."""
    channels = images.shape[-1]
    tables = tf.shape(images)[0] * channels
    first = tf.reshape(tf.range(tables) * 256, [-1, 1, 1, channels])
    place = first + tf.cast(images, tf.int32)
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(place), place, tables * 256
    )
    return tf.reshape(counts, [-1, channels, 256])


def equalise_table(images: tf.Tensor) -> tf.Tensor:
    """Returns the table that makes all levels equally frequent, as ImageOps.

    Returns:
        uint8 [b, c, 256]; the identity for a channel of one or of few levels.
    """
    counts = histogram(images)
    levels = tf.range(256)
    highest = tf.reduce_max(
        tf.where(counts > 0, levels, 0), axis=-1, keepdims=True
    )
    last = tf.reduce_sum(tf.where(levels == highest, counts, 0), -1, True)
    step = (tf.reduce_sum(counts, -1, True) - last) // 255
    below = tf.cumsum(counts, axis=-1, exclusive=True)
    spread = (step // 2 + below) // tf.maximum(step, 1)
    return _as_table(tf.where(step > 0, tf.minimum(spread, 255), levels))


def auto_contrast_table(images: tf.Tensor) -> tf.Tensor:
    """Returns the table that stretches each channel to 0..255, as ImageOps.

    Returns:
        uint8 [b, c, 256]; the identity for a channel of one level.
    """
    whole = tf.cast(images, tf.int32)
    low = tf.reduce_min(whole, [1, 2])[..., None]  # [b, c, 1]
    span = tf.reduce_max(whole, [1, 2])[..., None] - low
    levels = tf.range(256)
    stretched = (levels - low) * 255 // tf.maximum(span, 1)
    return _as_table(
        tf.where(span > 0, tf.clip_by_value(stretched, 0, 255), levels)
    )


def contrast_table(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns the table that moves levels from the mean grey: [b, 1, 256].

    Args:
        images: uint8 [b, h, w, c].
        factor: int32 [b], as for `blend`.
    """
    mean = mean_luma(images)[:, None, None]
    return blend(mean, tf.range(256)[None, None], factor[:, None, None])


def turn_hue(images: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    """Turns the hue by way of Pillow's HSV, which has 256 hues.

    Args:
        images: uint8 [b, h, w, 3]; grey images of 1 channel have no hue.
        turn: int32 [b], 0..255; 255 is about the whole circle.

    Returns:
        uint8 of the shape of images.
    """
    if images.shape[-1] == 1:
        return images
    whole = tf.cast(images, tf.int32)
    red, green, blue = tf.unstack(whole, axis=-1)
    value = tf.reduce_max(whole, -1)
    chroma = value - tf.reduce_min(whole, -1)
    # Place on the circle in sixths, times chroma: red 0, green 2, blue 4.
    sixths = tf.where(
        red == value,
        green - blue,
        tf.where(
            green == value, 2 * chroma + blue - red, 4 * chroma + red - green
        ),
    )
    sixths = tf.where(sixths < 0, sixths + 6 * chroma, sixths)
    hue = 255 * sixths // tf.maximum(6 * chroma, 1)
    hue = tf.bitwise.bitwise_and(hue + turn[:, None, None], 255)
    saturation = 255 * chroma // tf.maximum(value, 1)
    return _from_hsv(hue, saturation, value)


def _from_hsv(
    hue: tf.Tensor, saturation: tf.Tensor, value: tf.Tensor
) -> tf.Tensor:
    """Returns uint8 [b, h, w, 3] of int32 [b, h, w] in 0..255."""
    sector, part = hue * 6 // 255, hue * 6 % 255

    def less(share: tf.Tensor) -> tf.Tensor:
        """Returns value * (1 - saturation * share), share in 1 / 255."""
        one = 255 * 255
        return (2 * value * (one - saturation * share) + one) // (2 * one)

    low, falling, rising = less(255), less(part), less(255 - part)

    def channel(*by_sector: tf.Tensor) -> tf.Tensor:
        taken = by_sector[0]
        for i in range(1, 6):
            taken = tf.where(sector % 6 == i, by_sector[i], taken)
        return taken

    rgb = (
        channel(value, falling, low, low, rising, value),
        channel(rising, value, value, falling, low, low),
        channel(low, low, rising, value, value, falling),
    )
    return tf.cast(tf.stack(rgb, -1), tf.uint8)


def _as_table(levels: tf.Tensor) -> tf.Tensor:
    return tf.cast(levels, tf.uint8)
