"""Pictures that tests make with Pillow."""

import io

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def photo(width: int = 30, height: int = 20, channels: int = 3) -> Image.Image:
    """A smooth picture whose four corners differ: RGB, or L for 1 channel."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    pixels = np.stack([255 * x, 255 * y, 255 * (1 - x) * y], axis=-1)
    pixels = np.rint(pixels).astype(np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[..., 2])


def noise(width: int = 30, height: int = 20, channels: int = 3) -> Image.Image:
    """Random pixels: RGB, or RGBA for 4 channels."""
    shape = (height, width, channels)
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    )


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(image: Image.Image, kind: str, orientation: int, **options):
    """The bytes of a file that says which way up it is."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, kind, exif=exif, **options)


def opened(data: bytes) -> Image.Image:
    """Pillow's own reading of a file."""
    return Image.open(io.BytesIO(data))
