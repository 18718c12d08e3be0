"""Smaller images on the device, for the early part of a training."""

import numpy as np
import tensorflow as tf

from input import augment


def resize(height: int, width: int) -> augment.Augment:
    """Shrinks images: bilinear, over all the pixels that a result covers.

    The same as Pillow's resize with `Resampling.BILINEAR`, to one level. The
    two passes are products with fixed matrices, which every device does fast
    and XLA compiles.

    Args:
        height: Of the result, in pixels, at least 1.
        width: Of the result, in pixels, at least 1.

    Raises:
        ValueError: A side is below 1.
    """
    if min(height, width) < 1:
        raise ValueError(
            f"height={height} and width={width} must be at least 1 pixel."
        )

    def apply(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
        del rows
        down = tf.constant(_weights(images.shape[1], height))
        across = tf.constant(_weights(images.shape[2], width))
        # Pillow rounds after each pass as well, and takes the rows' first.
        passed = tf.floor(tf.einsum("wx,byxc->bywc", across, images) + 0.5)
        return tf.floor(tf.einsum("hy,bywc->bhwc", down, passed) + 0.5)

    return apply


def _weights(length: int, target: int) -> np.ndarray:
    """Returns float32 [target, length]: what each pixel adds to each result.

    A triangle about the result's middle, as wide as two pixels of the result
    but at least of the source; each row has the sum 1.
    """
    scale = length / target
    middles = (np.arange(target) + 0.5) * scale
    away = np.abs(np.arange(length) + 0.5 - middles[:, None])
    heights = np.maximum(0, 1 - away / max(scale, 1.0))
    weights = heights / heights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)
