"""From encoded bytes to uint8 pixels of the size the network takes.

A decoder is a small frozen object: `output_shape` says what it makes, and a
call makes it from the bytes of one image and a seed.
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
            seed: int32 [2], a different one for each reading of each image.
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
        return tf.ensure_shape(_decode(encoded, shape[2]), shape)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the image, resized: the usual crop for training.

    Attributes:
        size: Height and width of the result, in pixels, at least 1.
        min_area: Smallest part of the image's area to keep, in (0, 1].
        max_aspect: Largest ratio of width to height, and of height to width,
            of the part, at least 1.

    Source: Szegedy et al. 2014, "Going Deeper with Convolutions", section 6.
    """

    size: int
    min_area: float = 0.08
    max_aspect: float = 4 / 3

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.min_area <= 1:
            raise ValueError(
                f"min_area={self.min_area} must be in (0, 1]: the smallest "
                "part of the image's area that a crop may keep."
            )
        if self.max_aspect < 1:
            raise ValueError(
                f"max_aspect={self.max_aspect} must be at least 1: the "
                "largest ratio of a crop's longer side to its shorter one."
            )

    def output_shape(self, info: dataset.DatasetInfo) -> tuple[int, int, int]:
        """Returns [size, size, channels]."""
        return (self.size, self.size, info.channels)

    def __call__(
        self, encoded: tf.Tensor, seed: tf.Tensor, shape: tuple[int, int, int]
    ) -> tf.Tensor:
        """Decodes a random window and resizes it, bilinear."""
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            _image_size(encoded, shape[2]),
            tf.zeros([1, 0, 4]),
            seed,
            aspect_ratio_range=(1 / self.max_aspect, self.max_aspect),
            area_range=(self.min_area, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], axis=0)
        return _resize(_decode_window(encoded, window, shape[2]), shape)


@dataclasses.dataclass(frozen=True)
class ResizeCenterCrop:
    """The middle of the image: the usual view for evaluation.

    Attributes:
        size: Height and width of the result, in pixels, at least 1.
        kept: Share of the shorter side that the crop keeps, in (0, 1]; 0.875
            is the usual 224 of 256.
    """

    size: int
    kept: float = 0.875

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.kept <= 1:
            raise ValueError(
                f"kept={self.kept} must be in (0, 1]: the share of the "
                "shorter side that the crop keeps."
            )

    def output_shape(self, info: dataset.DatasetInfo) -> tuple[int, int, int]:
        """Returns [size, size, channels]."""
        return (self.size, self.size, info.channels)

    def __call__(
        self, encoded: tf.Tensor, seed: tf.Tensor, shape: tuple[int, int, int]
    ) -> tf.Tensor:
        """Decodes the central square and resizes it, bilinear."""
        del seed
        height_width = _image_size(encoded, shape[2])[:2]
        shorter = tf.cast(tf.reduce_min(height_width), tf.float32)
        side = tf.maximum(tf.cast(tf.round(shorter * self.kept), tf.int32), 1)
        begin = (height_width - side) // 2
        window = tf.concat([begin, [side, side]], axis=0)
        return _resize(_decode_window(encoded, window, shape[2]), shape)


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel.")


def _decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    image = tf.io.decode_image(
        encoded, channels=channels, expand_animations=False
    )
    image.set_shape([None, None, channels])
    return image


def _image_size(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Returns int32 [height, width, channels]; reads only a JPEG's header."""
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.concat(
            [tf.io.extract_jpeg_shape(encoded)[:2], [channels]], axis=0
        ),
        lambda: tf.shape(_decode(encoded, channels)),
    )


def _decode_window(
    encoded: tf.Tensor, window: tf.Tensor, channels: int
) -> tf.Tensor:
    """Returns uint8 [h, w, channels] of the window [top, left, h, w]."""

    def crop_jpeg() -> tf.Tensor:
        # Measured on 500x375 pictures, two threads: decoding the window alone
        # gives 1.35x the images of a full decode, and the fast DCT with plain
        # upscaling another 1.13x.
        return tf.io.decode_and_crop_jpeg(
            encoded,
            window,
            channels=channels,
            dct_method="INTEGER_FAST",
            fancy_upscaling=False,
        )

    def crop_any() -> tf.Tensor:
        top, left, height, width = tf.unstack(window)
        image = _decode(encoded, channels)
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(encoded), crop_jpeg, crop_any)
    image.set_shape([None, None, channels])
    return image


def _resize(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    resized = tf.image.resize(image, shape[:2], antialias=True)
    pixels = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    return tf.ensure_shape(pixels, shape)
