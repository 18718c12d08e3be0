"""From encoded bytes to uint8 pixels of the size the network takes.

A decoder is a small frozen object: `output_shape` says what it makes, and a
call makes it from the bytes of one image and a seed. Those that take a part of
the image are in input/crops.py.
"""

import dataclasses
from typing import Protocol

import tensorflow as tf

from input import dataset, errors


class Decoder(Protocol):
    """Makes an image of a fixed shape from encoded bytes."""

    def output_shape(self, info: dataset.DatasetInfo) -> tuple[int, int, int]:
        """Returns [height, width, channels] of what a call makes."""

    def __call__(
        self, encoded: tf.Tensor, seed: tf.Tensor, shape: tuple[int, int, int]
    ) -> tf.Tensor:
        """Decodes one image.

        Args:
            encoded: JPEG or PNG bytes, a string scalar.
            seed: int64 [2], a different one for each reading of each image.
            shape: What `output_shape` returned.

        Returns:
            uint8 [height, width, channels].
        """


@dataclasses.dataclass(frozen=True)
class AsStored:
    """Takes images as they are; all must have the same shape."""

    def output_shape(self, info: dataset.DatasetInfo) -> tuple[int, int, int]:
        """Returns the shape that all images share.

        Raises:
            errors.DataError: The images have different sizes.
        """
        if info.image_shape is None:
            raise errors.DataError(
                "The images of this data set have different sizes, so that "
                "they cannot be batched as stored. Bind a decoder, such as "
                "`train_data.decode = @random_resized_crop()` and "
                "`eval_data.decode = @resize_center_crop()`."
            )
        return info.image_shape

    def __call__(
        self, encoded: tf.Tensor, seed: tf.Tensor, shape: tuple[int, int, int]
    ) -> tf.Tensor:
        """Decodes the whole image."""
        del seed
        return tf.ensure_shape(decode(encoded, shape[2]), shape)


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Returns the whole image of any format: uint8 [height, width, channels].

    The first frame of an animation.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # TensorFlow's default, INTEGER_FAST, is off by 1 level on average.
        lambda: tf.io.decode_jpeg(
            encoded, channels=channels, dct_method="INTEGER_ACCURATE"
        ),
        lambda: tf.io.decode_image(
            encoded, channels=channels, expand_animations=False
        ),
    )
    image.set_shape([None, None, channels])
    return image
