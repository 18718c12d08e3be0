"""Is this an image that training can read? Found out by decoding it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import simplejpeg
import tensorflow as tf

# What a conversion stores: TensorFlow decodes them, a JPEG also in part.
STORED = ("JPEG", "PNG")
# What training reads besides, in data sets of others, whole.
_ALSO_READ = ("GIF", "BMP", "WebP")
# libjpeg only warns of damage and makes up the rest. It also warns of bytes too
# many: many a sound photo has some at its end, but not the tenth part of it.
_TOO_MANY = re.compile(r"(\d+) extraneous bytes")
_MOST_TOO_MANY = 0.1

# Where in the file the magic is, the magic, and the kind of file.
_MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xffO\xffQ", "JPEG 2000"),
)
# Met often enough to be called by its name.
_UNSUPPORTED = ((4, b"ftyp", "HEIC"), (0, b"8BPS", "Photoshop"))
_LONGEST_HEAD = 12


class UnreadableImageError(ValueError):
    """The bytes are no image that can be stored; the message says why."""


def looks_like_image(path: str) -> bool:
    """Whether a file begins like an image, whatever its name."""
    try:
        with open(path, "rb") as file:
            return _find_kind(file.read(_LONGEST_HEAD)) is not None
    except OSError:
        return True  # reported with its reason when it is read in full


def kind(data: bytes) -> str:
    """Returns what kind of image a file is by its first bytes.

    Returns:
        JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF or JPEG 2000.

    Raises:
        UnreadableImageError: None of them; the message says what it is.
    """
    found = _find_kind(data[:_LONGEST_HEAD])
    if found is not None:
        return found
    if not data:
        raise UnreadableImageError("the file is empty")
    for start, magic, name in _UNSUPPORTED:
        if data.startswith(magic, start):
            raise UnreadableImageError(
                f"{name} is not supported, convert it to JPEG or PNG"
            )
    raise UnreadableImageError(f"not an image, begins with {data[:4].hex(' ')}")


def decode(data: bytes) -> np.ndarray:
    """Decodes an image in full, as the input pipeline will.

    An alpha channel is dropped, a palette looked up, 16 bits become 8, and
    CMYK becomes RGB. Of several frames it is the first.

    Args:
        data: JPEG or PNG, GIF, BMP or WebP.

    Returns:
        The pixels: uint8 [H, W, C], C = 1 or 3.

    Raises:
        UnreadableImageError: Truncated or corrupt, or of another kind.
    """
    name = kind(data)
    if name == "JPEG":
        return decode_jpeg(data)
    if name not in STORED + _ALSO_READ:
        raise UnreadableImageError(f"{name} is not read in training")
    image = _decode(_first_frame, data, name)
    channels = image.shape[2]
    return image[..., : channels - 1 + channels % 2]


def _first_frame(data: bytes) -> tf.Tensor:
    return tf.io.decode_image(data, expand_animations=False)


def decode_jpeg(data: bytes, *, method: str = "", scale: int = 1) -> np.ndarray:
    """Decodes a JPEG in full.

    Args:
        data: The file.
        method: Of the cosine transform, see `tf.io.decode_jpeg`.
        scale: 1, 2, 4 or 8: height and width are divided by it, rounded up,
            without decoding more than that takes.

    Returns:
        uint8 [H, W, C], C = 1 or 3.

    Raises:
        UnreadableImageError: Truncated or corrupt.
    """

    def read(contents: bytes) -> tf.Tensor:
        return tf.io.decode_jpeg(contents, dct_method=method, ratio=scale)

    check_jpeg(data)
    return _decode(read, data, "JPEG")


def check_jpeg(data: bytes) -> None:
    """Raises UnreadableImageError for damage that TensorFlow decodes over."""
    try:
        # At the smallest scale: hardly more than the entropy coding.
        simplejpeg.decode_jpeg(
            data, colorspace="GRAY", strict=True, min_height=1, min_width=1
        )
    except ValueError as e:
        warning = str(e).removeprefix("Corrupt JPEG data: ")
        # What it refuses besides, such as CMYK, is left to TensorFlow.
        if warning == str(e):
            return
        found = _TOO_MANY.match(warning)
        if found and int(found[1]) <= _MOST_TOO_MANY * len(data):
            return
        raise UnreadableImageError(f"{corrupt(data, 'JPEG')}: {warning}") from e


def corrupt(data: bytes, name: str) -> UnreadableImageError:
    """Returns the error of a file that is not what it begins like."""
    return UnreadableImageError(
        f"truncated or corrupt {name} ({len(data):,} bytes)"
    )


def _decode(
    read: Callable[[bytes], tf.Tensor], data: bytes, name: str
) -> np.ndarray:
    try:
        return np.asarray(read(data))
    except tf.errors.OpError:
        raise corrupt(data, name) from None


def _find_kind(head: bytes) -> str | None:
    for start, magic, name in _MAGIC:
        if head.startswith(magic, start):
            return name
    # Two letters begin many a text, four zeros after the size none.
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "BMP"
    return None
