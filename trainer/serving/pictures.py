"""Is this picture safe to compute? Found out before the model sees it.

A picture goes the way that it would have gone into a data set
(`input.transcode`): a photo is turned upright, what is transparent is laid over
white, other formats than JPEG and PNG become PNG. What is no picture, or
damaged, is refused with the same words.
"""

from __future__ import annotations

from input import image_check, transcode

# Every scan of a progressive JPEG goes over the whole picture. Encoders write
# about 10; a small file may have thousands. libjpeg-turbo's own limit for
# files that are not trusted is 500.
_MAX_SCANS = 100
_START_OF_SCAN = b"\xff\xda"

UnreadableImageError = image_check.UnreadableImageError


def checked(data: bytes, max_pixels: int) -> bytes:
    """Returns the JPEG or PNG that the model is given for a picture.

    Args:
        data: As it was sent.
        max_pixels: Width times height, at most; read from the header.

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
    rules = transcode.Rules(max_pixels=max_pixels)
    # The model decodes what stays; twice would be once too often.
    return (
        data
        if transcode.check(data, rules)
        else (transcode.store(data, rules).data)
    )
