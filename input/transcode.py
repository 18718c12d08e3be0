"""What is stored of an image: the file as found, or a copy of its pixels.

TensorFlow reads JPEG and PNG, ignores which way up EXIF says a photo is, and
drops transparency. What it would not read, or not as people see it, is decoded
by Pillow here and stored as PNG, which loses nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

from input import image_check
from input.image_check import UnreadableImageError

# Three bytes each are just below 2**29, the most that TensorFlow decodes.
MAX_PIXELS = 178_956_970

_JPEG_QUALITY = 95
# Of a photo of 500x375: 28 ms and 328 kB. The usual 6 takes 49 ms for 315 kB,
# 1 takes 22 ms for 337 kB.
_PNG_LEVEL = 3
# Pixels that are kept along a side for each that is wanted, before they are
# averaged: the scales of a JPEG are cruder than a resize.
_SPARE = 2
_PILLOW = {"JPEG": ["JPEG", "MPO"], "JPEG 2000": ["JPEG2000"]}
# Transparency, and the two places where tools write EXIF.
_PNG_CHUNKS = (b"tRNS", b"eXIf", b"Raw profile type")
_UPRIGHT = 1
# By the value of EXIF's orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is stored, and what is refused.

    Attributes:
        max_pixels: Width times height of an image, at most.
        max_side: The longer side of what is stored, pixels; None keeps it.
    """

    max_pixels: int = MAX_PIXELS
    max_side: int | None = None


@dataclasses.dataclass(frozen=True)
class Stored:
    """What is stored of an image.

    Attributes:
        data: A JPEG or PNG.
        image_format: "jpeg" or "png".
        pixels: What training will see: uint8 [H, W, C], C = 1 or 3.
        change: What was done, such as "GIF to PNG" or "JPEG to PNG: turned
            upright"; empty if `data` is as found.
    """

    data: bytes
    image_format: str
    pixels: np.ndarray
    change: str = ""


@dataclasses.dataclass(frozen=True)
class _Header:
    """What a file says of itself before its pixels are decoded."""

    width: int
    height: int
    orientation: int
    may_be_transparent: bool


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Lets `store` judge sizes in Pillow's place, and ends its warnings.

    They name no file. Settings of the whole process: to be entered once,
    around all calls of `store` in whatever threads.
    """
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def store(data: bytes, rules: Rules) -> Stored:
    """Decides what is stored of an image, and decodes it.

    - JPEG and PNG stay as found, to the byte, unless a rule below says
      otherwise. Other formats become PNG; of several frames, the first.
    - What EXIF says is on its side or mirrored is turned upright, as PNG.
    - What is transparent in part is laid over white, as PNG of 8 bits.
    - What is above `rules.max_side` is shrunk, antialiased (bicubic), to a
      JPEG of quality 95 if it was a JPEG, else to a PNG of 8 bits.

    Args:
        data: The file.
        rules: What is wanted.

    Raises:
        UnreadableImageError: No image, damaged, of more pixels than allowed,
            or of a kind that has no 8 or 16 bits a channel.
    """
    kind = image_check.kind(data)
    try:
        return _store(data, kind, rules)
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError(
            f"{kind} that does not fit in memory"
        ) from None
    # Damage comes out of Pillow's readers as OSError, SyntaxError, ValueError,
    # EOFError, struct.error, zlib.error and more.
    except Exception as e:
        error = image_check.corrupt(data, kind)
        # Pillow shows the file that it was given, which is none here.
        reason = str(e).partition(" <_io.BytesIO")[0]
        raise UnreadableImageError(f"{error}: {reason}") from e


def stays(data: bytes, rules: Rules) -> bool:
    """Returns whether `store` keeps an image as found, by its header alone.

    False also where that cannot be told without decoding it.

    Raises:
        UnreadableImageError: No image, or of more pixels than allowed.
    """
    kind = image_check.kind(data)
    try:
        header = _read_header(data, kind)
    except Exception:  # Damaged, in one of many ways: decoding it says how.
        return False
    if header.may_be_transparent:
        return False
    return _may_stay(header, kind, _checked_size(header, kind, rules))


def _may_stay(header: _Header, kind: str, size: tuple[int, int]) -> bool:
    upright = header.orientation == _UPRIGHT
    whole = size == (header.width, header.height)
    return kind in image_check.STORED and upright and whole


def _store(data: bytes, kind: str, rules: Rules) -> Stored:
    header = _read_header(data, kind)
    size = _checked_size(header, kind, rules)
    shrink = size != (header.width, header.height)
    upright = header.orientation == _UPRIGHT
    may_stay = _may_stay(header, kind, size)
    if may_stay and not header.may_be_transparent:
        return Stored(data, kind.lower(), image_check.decode(data))
    if kind == "JPEG":
        image, laid = _load_jpeg(data, _jpeg_scale(header, size)), False
    else:
        image, laid = _load(data, kind)
    if may_stay and not laid:
        return Stored(data, kind.lower(), image_check.decode(data))
    if shrink:
        image = _shrink(image, size)
    if not upright and kind != "TIFF":  # which Pillow has turned itself
        image = image.transpose(_TURNS[header.orientation])
    new = "JPEG" if shrink and kind == "JPEG" else "PNG"
    done = [
        text
        for text, true in (
            ("turned upright", not upright),
            ("laid over white", laid),
            (f"shrunk to {rules.max_side} pixels", shrink),
        )
        if true
    ]
    change = f"{kind} to {new}{': ' if done else ''}{', '.join(done)}"
    encoded = _encode(image, new)
    return Stored(encoded, new.lower(), image_check.decode(encoded), change)


def _open(data: bytes, kind: str) -> Image.Image:
    """Opens a file without decoding it, with the reader of its kind alone."""
    return Image.open(
        io.BytesIO(data), formats=_PILLOW.get(kind, [kind.upper()])
    )


def _read_header(data: bytes, kind: str) -> _Header:
    head = data[: data.find(b"IDAT")]
    if kind == "PNG" and head[12:16] == b"IHDR" and not _says_more(head):
        # Pillow takes 0.1 ms, half of what a digit takes to be decoded.
        width, height = struct.unpack(">II", head[16:24])
        return _Header(width, height, _UPRIGHT, False)
    image = _open(data, kind)
    orientation = _UPRIGHT
    # Asked for EXIF that a PNG does not begin with, Pillow decodes it all.
    if kind != "PNG" or "exif" in image.info:
        # A photo with damaged EXIF is a photo.
        with contextlib.suppress(Exception):
            orientation = int(
                image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
            )
    return _Header(
        *image.size,
        orientation if orientation in _TURNS else _UPRIGHT,
        kind != "JPEG" and image.has_transparency_data,
    )


def _says_more(head: bytes) -> bool:
    """Whether a PNG may be transparent or turned, by what is before IDAT."""
    alpha = head[25:26] in (b"\x04", b"\x06")  # the colour type
    return alpha or any(name in head for name in _PNG_CHUNKS)


def _checked_size(header: _Header, kind: str, rules: Rules) -> tuple[int, int]:
    """Returns width and height of what is stored, before it is turned."""
    full = header.width, header.height
    size, longer = full, max(full)
    if rules.max_side is not None and longer > rules.max_side:
        scale = rules.max_side / longer
        size = max(1, round(full[0] * scale)), max(1, round(full[1] * scale))
    text = f"{full[0]:,} x {full[1]:,} pixels are more than"
    if full[0] * full[1] > rules.max_pixels:
        raise UnreadableImageError(f"{text} --max_pixels={rules.max_pixels}")
    # What is left to TensorFlow: what is stored, and all JPEGs.
    decoded = size[0] * size[1]
    if kind == "JPEG":
        decoded = full[0] * full[1] // _jpeg_scale(header, size) ** 2
    if decoded > MAX_PIXELS:
        raise UnreadableImageError(
            f"{text} the {MAX_PIXELS} that TensorFlow decodes: give a "
            "--max_side, or a smaller one"
        )
    return size


def _jpeg_scale(header: _Header, size: tuple[int, int]) -> int:
    """Returns how much smaller a JPEG may be decoded: 1, 2, 4 or 8."""
    spare = min(header.width // size[0], header.height // size[1]) // _SPARE
    return max(scale for scale in (1, 2, 4, 8) if scale <= max(spare, 1))


def _load_jpeg(data: bytes, scale: int) -> Image.Image:
    # TensorFlow refuses truncated files that Pillow accepts. Its default
    # transform is off by up to 16 of 255; this one agrees with Pillow's.
    pixels = image_check.decode_jpeg(
        data, method="INTEGER_ACCURATE", scale=scale
    )
    grey = pixels.shape[2] == 1
    return Image.fromarray(pixels[..., 0] if grey else pixels)


def _load(data: bytes, kind: str) -> tuple[Image.Image, bool]:
    """Decodes an image that is no JPEG.

    Returns:
        It, of mode L, I;16 or RGB, and whether it was laid over white.
    """
    image = _open(data, kind)
    image.load()
    mode = image.mode
    if mode in ("I", "F"):
        raise UnreadableImageError(
            "32 bits a channel, which have no black and white of their own: "
            "convert it to 8 or 16 bits"
        )
    if mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.uint16)), False
    target = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        alpha = image.convert("RGBA")
        if np.asarray(alpha.getchannel("A")).min() < 255:
            white = Image.new("RGBA", alpha.size, "white")
            white.alpha_composite(alpha)
            return white.convert(target), True
        image = alpha
    return image.convert(target), False


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.resize(size, Image.Resampling.BICUBIC)


def _encode(image: Image.Image, image_format: str) -> bytes:
    # Through an array: EXIF, colour profiles and comments stay behind.
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(
        buffer,
        image_format,
        quality=_JPEG_QUALITY,
        compress_level=_PNG_LEVEL,
    )
    return buffer.getvalue()
