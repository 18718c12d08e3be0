"""From the bytes that somebody has sent to pixels, or to what is wrong."""

from __future__ import annotations

import numpy as np

from input import image_check
from trainer import artefact_info, predict_pictures

# Every scan of a progressive JPEG goes over the whole picture. Encoders write
# about 10; a small file may have thousands. libjpeg-turbo's own limit for
# files that are not trusted is 500.
_MAX_SCANS = 100
_START_OF_SCAN = b"\xff\xda"

UnreadableImageError = image_check.UnreadableImageError


class Reader:
    """Makes pixels of pictures, as trainer.predict does, with more caution.

    May be called in several threads at once.
    """

    def __init__(self, info: artefact_info.Info, max_pixels: int) -> None:
        """Reads for one model.

        Args:
            info: Of the model: its decoder, and the shape of its images.
            max_pixels: Width times height of a picture, at most; read from
                its header.

        Raises:
            errors.ConfigError: The model has a decoder that is not Lockstep's.
        """
        self._reader = predict_pictures.Reader(
            info.decoder(), info.image_shape, max_pixels
        )

    def __call__(self, data: bytes) -> np.ndarray:
        """Returns uint8 [H, W, C] of an encoded picture.

        Raises:
            UnreadableImageError: No image, damaged, or too large.
        """
        if image_check.kind(data) == "JPEG":
            scans = data.count(_START_OF_SCAN)
            if scans > _MAX_SCANS:
                raise UnreadableImageError(
                    f"a JPEG of {scans:,} scans, more than {_MAX_SCANS}: "
                    "save it again in an image editor"
                )
        return self._reader.pixels(data)
