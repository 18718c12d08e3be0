"""Is this an image that training can read? Found out by decoding it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# The first bytes of what can be stored, and of what is met often enough to be
# called by its name.
_STORED = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}
_KNOWN = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"8BPS": "Photoshop",
}
_LONGEST_MAGIC = 12


class UnreadableImageError(ValueError):
    """The bytes are no image that can be stored; the message says why."""


def looks_like_image(path: str) -> bool:
    """Whether a file begins like a JPEG or PNG, whatever its name."""
    try:
        with open(path, "rb") as file:
            return _stored_format(file.read(_LONGEST_MAGIC)) is not None
    except OSError:
        return True  # reported with its reason when it is read in full


def decode(data: bytes) -> tuple[str, np.ndarray]:
    """Decodes a JPEG or PNG in full, as the input pipeline will.

    The alpha channel of a PNG is dropped, a palette looked up, 16 bits become
    8, and CMYK becomes RGB.

    Returns:
        "jpeg" or "png", and the pixels: uint8 [H, W, C], C = 1 or 3.

    Raises:
        UnreadableImageError: Another format, truncated or corrupt.
    """
    image_format = _stored_format(data)
    if image_format is None:
        raise UnreadableImageError(_describe(data))
    read = tf.io.decode_jpeg if image_format == "jpeg" else tf.io.decode_png
    try:
        image = read(data).numpy()
    except tf.errors.InvalidArgumentError:
        raise UnreadableImageError(
            f"truncated or corrupt {image_format.upper()} ({len(data):,} bytes)"
        ) from None
    channels = image.shape[2]
    return image_format, image[..., : channels - 1 + channels % 2]


def _stored_format(data: bytes) -> str | None:
    for magic, name in _STORED.items():
        if data.startswith(magic):
            return name
    return None


def _describe(data: bytes) -> str:
    if not data:
        return "the file is empty"
    name = next(
        (n for magic, n in _KNOWN.items() if data.startswith(magic)), ""
    )
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        name = "WebP"
    if data[4:8] == b"ftyp":
        name = "HEIC or AVIF"
    if name:
        return f"{name} is not supported, convert it to JPEG or PNG"
    return f"not an image, begins with {data[:4].hex(' ')}"
