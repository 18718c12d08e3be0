"""Augmentation on the device, inside the step: batched, stateless, compilable.

An augmentation is a function ``(images, rows) -> images`` on float32
[b, height, width, channels] with pixel values 0..255. To add one, write a
factory such as `random_flip` below and register it in trainer/bindings.py.

Random numbers are drawn for the whole global batch, and each replica takes
those of its own rows: what happens to an example does not depend on the engine.
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows of which global batch a replica holds.

    Attributes:
        seed: int32 [2], of the run and the step.
        first: int32 scalar, index in the global batch of the first row.
        count: Rows of this replica.
        global_count: Rows of the global batch.
        place: Of the augmentation that draws in the list of all: the same one
            may be there twice.
    """

    seed: tf.Tensor
    first: tf.Tensor
    count: int
    global_count: int
    place: int = 0

    def uniform(
        self,
        name: str,
        minval: float | int = 0.0,
        maxval: float | int = 1.0,
        dtype: tf.DType = tf.float32,
    ) -> tf.Tensor:
        """Returns a number for each row: [count], in [minval, maxval).

        Args:
            name: Tells this draw from the others of the step.
            minval: Lower end.
            maxval: Upper end, never reached.
            dtype: float32 or int32.
        """
        draw = f"{self.place} {name}" if self.place else name
        # Named, since the default generator is another one under XLA.
        seed = tf.random.experimental.stateless_fold_in(
            self.seed, zlib.crc32(draw.encode()) & 0x7FFFFFFF, alg="philox"
        )
        drawn = tf.random.stateless_uniform(
            [self.global_count], seed, minval, maxval, dtype, alg="philox"
        )
        return tf.slice(drawn, [self.first], [self.count])


Augment = Callable[[tf.Tensor, Rows], tf.Tensor]


def check_probability(value: float, name: str = "probability") -> None:
    """Raises ValueError where a probability is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value} must be in [0, 1].")


def check_fill(fill: float) -> None:
    """Raises a ValueError unless it is a pixel value."""
    if not 0 <= fill <= 255:
        raise ValueError(f"fill={fill} must be a pixel value in 0..255.")


def random_crop(padding: int = 4) -> Augment:
    """Shifts each image by up to `padding` pixels; black moves in.

    The usual augmentation of CIFAR-10 (He et al. 2015, section 4.2).

    Args:
        padding: Largest shift in each direction, in pixels, at least 1.

    Raises:
        ValueError: `padding` is below 1.
    """
    if padding < 1:
        raise ValueError(f"padding={padding} must be at least 1 pixel.")

    def apply(images: tf.Tensor, rows: Rows) -> tf.Tensor:
        _, height, width, _ = images.shape
        pad = [padding, padding]
        padded = tf.pad(images, [[0, 0], pad, pad, [0, 0]])
        span = 2 * padding + 1
        top = rows.uniform("random_crop/top", 0, span, tf.int32)
        left = rows.uniform("random_crop/left", 0, span, tf.int32)
        # [b, height] and [b, width]: the source row and column of each pixel.
        down = top[:, None] + tf.range(height)[None]
        across = left[:, None] + tf.range(width)[None]
        cropped = tf.gather(padded, down, axis=1, batch_dims=1)
        return tf.gather(cropped, across, axis=2, batch_dims=1)

    return apply


def random_flip(probability: float = 0.5) -> Augment:
    """Mirrors images left to right.

    Args:
        probability: Share of images to mirror, in [0, 1].

    Raises:
        ValueError: `probability` is not in [0, 1].
    """
    return _mirror("random_flip", 2, probability)


def random_vertical_flip(probability: float = 0.5) -> Augment:
    """Mirrors images top to bottom.

    Args:
        probability: Share of images to mirror, in [0, 1].

    Raises:
        ValueError: `probability` is not in [0, 1].
    """
    return _mirror("random_vertical_flip", 1, probability)


def _mirror(name: str, axis: int, probability: float) -> Augment:
    check_probability(probability)

    def apply(images: tf.Tensor, rows: Rows) -> tf.Tensor:
        flip = rows.uniform(name) < probability
        return tf.where(
            flip[:, None, None, None], tf.reverse(images, [axis]), images
        )

    return apply


def cutout(size: int = 8, fill: float = 0.0) -> Augment:
    """Blanks a square at a random place, cut off at the border.

    Args:
        size: Side of the square in pixels, at least 1.
        fill: Pixel value to put there, 0..255.

    Raises:
        ValueError: `size` or `fill` is out of range.

    Source: DeVries and Taylor 2017, arXiv:1708.04552.
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel.")
    check_fill(fill)

    def apply(images: tf.Tensor, rows: Rows) -> tf.Tensor:
        _, height, width, _ = images.shape
        inside_rows = _span(rows, "cutout/top", height, size)
        inside_columns = _span(rows, "cutout/left", width, size)
        # [b, height, 1, 1] and [b, 1, width, 1].
        blank = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
        return tf.where(blank, tf.constant(fill, images.dtype), images)

    return apply


def _span(rows: Rows, name: str, length: int, size: int) -> tf.Tensor:
    """Returns bool [b, length]: true within `size` around a random centre."""
    centre = rows.uniform(name, 0, length, tf.int32)
    start = centre[:, None] - size // 2
    place = tf.range(length)[None]
    return (place >= start) & (place < start + size)


def preprocess(
    images: tf.Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    augments: Sequence[Augment] = (),
    rows: Rows | None = None,
) -> tf.Tensor:
    """Makes what the network sees from what the pipeline delivers.

    Args:
        images: uint8 [b, height, width, channels].
        mean: Mean of each channel, pixel values 0..255. Grey images are
            repeated in three channels where there are three.
        std: Standard deviation of each channel, same scale. Below one pixel
            value, as of a channel that is always the same, it counts as 1.
        augments: Applied in order, before the normalisation.
        rows: Of these images; needed with `augments`.

    Returns:
        float32 [b, height, width, len(mean)], of mean 0 and variance 1 over
        the pictures that mean and std are of.

    Raises:
        ValueError: `augments` without `rows`.
    """
    pixels = tf.cast(images, tf.float32)
    for place, augment in enumerate(augments):
        if rows is None:
            raise ValueError("augments need rows: their seed and number.")
        pixels = augment(pixels, dataclasses.replace(rows, place=place))
    deviation = tf.maximum(tf.constant(std), 1.0)
    # One channel is repeated here where there are three means.
    return (pixels - tf.constant(mean)) / deviation
