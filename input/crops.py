"""Decoders that take a part of an image and give it the network's size.

Both read the size from the header and choose the part first; only then is it
decoded, and at a reduced scale where the part is much larger than the target.
"""

import dataclasses
import functools
from collections.abc import Sequence

import tensorflow as tf

from input import dataset
from input import decode as decode_lib

# libjpeg decodes at 1/1, 1/2, 1/4 and 1/8 of the scale.
_RATIOS = (1, 2, 4, 8)
_ATTEMPTS = 10
# How many times the target's pixels evaluation decodes at least. Measured on
# photos of up to 12 megapixels against PIL, which decodes all: no pixel differs
# by more than 2 levels of 255 at 5 times, by 3 at 4 times, by 7 at 2.5 times.
_EVALUATION_MARGIN = 5


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the image, resized: the usual crop for training.

    The part is decoded at the smallest scale that still has the target's
    pixels. What is left, a factor below 2 on the shorter side, is bilinear
    interpolation; where no scale comes so near, the pixels that a target pixel
    covers are averaged.

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
        """Decodes a random window and resizes it."""
        channels = shape[2]

        def crop_jpeg() -> tf.Tensor:
            window = self._window(_jpeg_size(encoded), seed)
            shorter = tf.reduce_min(window[2:])

            def resized(ratio: int) -> tf.Tensor:
                part = _decode_window(encoded, window, ratio, channels)
                # Less than twice the target is left, except of the last.
                resize = _average if ratio == _RATIOS[-1] else _interpolate
                return resize(part, shape)

            # One switch for the scale and for how to resize.
            return tf.switch_case(
                _reached(shorter, [ratio * self.size for ratio in _RATIOS[1:]]),
                [functools.partial(resized, ratio) for ratio in _RATIOS],
            )

        def crop_any() -> tf.Tensor:
            image = decode_lib.decode(encoded, channels)
            window = self._window(tf.shape(image)[:2], seed)
            top, left, height, width = tf.unstack(window)
            part = image[top : top + height, left : left + width]
            return tf.cond(
                tf.reduce_min(window[2:]) < 2 * self.size,
                lambda: _interpolate(part, shape),
                lambda: _average(part, shape),
            )

        image = tf.cond(tf.io.is_jpeg(encoded), crop_jpeg, crop_any)
        return tf.ensure_shape(image, shape)

    def _window(self, size: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns a random int32 [top, left, height, width].

        Args:
            size: int32 [height, width] of the image.
            seed: int64 [2].
        """
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.concat([size, [1]], axis=0),
            tf.zeros([1, 0, 4]),
            seed,
            aspect_ratio_range=(1 / self.max_aspect, self.max_aspect),
            area_range=(self.min_area, 1.0),
            max_attempts=_ATTEMPTS,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], extent[:2]], axis=0)


@dataclasses.dataclass(frozen=True)
class ResizeCenterCrop:
    """The middle of the image: the usual view for evaluation.

    Resizes the shorter side to `size / kept` and takes the central square, as
    torchvision's Resize and CenterCrop do: bilinear, over all the pixels that
    a target pixel covers. No pixel differs from theirs by more than 1 level
    of 255, or 2 in photos so large that they are decoded at a reduced scale.

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
        """Decodes the image, resizes it and takes the central square."""
        del seed
        channels = shape[2]
        shorter = round(self.size / self.kept)

        def decode_jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            size = _jpeg_size(encoded)
            window = tf.concat([[0, 0], size], axis=0)
            margin = _EVALUATION_MARGIN * shorter
            index = _reached(
                tf.reduce_min(size), [ratio * margin for ratio in _RATIOS[1:]]
            )
            image = tf.switch_case(
                index,
                [
                    functools.partial(
                        _decode_window, encoded, window, ratio, channels
                    )
                    for ratio in _RATIOS
                ],
            )
            return size, tf.gather(_RATIOS, index), image

        def decode_any() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = decode_lib.decode(encoded, channels)
            return tf.shape(image)[:2], tf.constant(1), image

        size, ratio, image = tf.cond(
            tf.io.is_jpeg(encoded), decode_jpeg, decode_any
        )
        # Rounded down, and .5 to the even number, where torchvision does so.
        resized = size * shorter // tf.reduce_min(size)
        corner = tf.round(tf.cast(resized - self.size, tf.float32) / 2)
        pixels = tf.raw_ops.ScaleAndTranslate(
            images=image[tf.newaxis],
            size=shape[:2],
            scale=tf.cast(resized * ratio / size, tf.float32),
            translation=-corner,
            kernel_type="triangle",
            antialias=True,
        )[0]
        return _to_uint8(pixels, shape)


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel.")


def _jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns int32 [height, width], from the header."""
    return tf.io.extract_jpeg_shape(encoded)[:2]


def _reached(value: tf.Tensor, limits: Sequence[int]) -> tf.Tensor:
    """Returns how many of some limits a value reaches, an int32 scalar."""
    return tf.reduce_sum(tf.cast(value >= tf.constant(limits), tf.int32))


def _decode_window(
    encoded: tf.Tensor, window: tf.Tensor, ratio: int, channels: int
) -> tf.Tensor:
    """Decodes a part of a JPEG.

    Args:
        encoded: The JPEG.
        window: int32 [top, left, height, width] in pixels of the full scale.
        ratio: One of `_RATIOS`.
        channels: 1 or 3.

    Returns:
        uint8 [height / ratio, width / ratio, channels], rounded down.
    """
    # The accurate transform and smooth upscaling of colours are as fast as the
    # rough ones, which are off by 1 level on average and by up to 40.
    return tf.raw_ops.DecodeAndCropJpeg(
        contents=encoded,
        crop_window=window // ratio,
        channels=channels,
        ratio=ratio,
        fancy_upscaling=True,
        dct_method="INTEGER_ACCURATE",
    )


def _average(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Resizes an image of at least the target's size; every pixel counts."""
    # tf.image.resize with antialias=True takes longer than the JPEG decoder.
    return _to_uint8(tf.image.resize(image, shape[:2], "area"), shape)


def _interpolate(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Resizes an image of up to twice the target's size.

    Of exactly twice that is the average of 2x2 pixels.
    """
    # Two thirds of the time of averages, which no longer differ much here.
    return _to_uint8(tf.image.resize(image, shape[:2], "bilinear"), shape)


def _to_uint8(pixels: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Returns uint8 pixels, rounded."""
    # Neither interpolation nor averages leave 0..255.
    return tf.ensure_shape(tf.cast(pixels + 0.5, tf.uint8), shape)
