"""What Pillow makes of a picture: the reference for the augmentations."""

import functools

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from sklearn import datasets

from input import menu

Op = menu.Operation


@functools.cache
def pictures(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Four cut-outs of two real photographs: uint8 [4, h, w, c]."""
    cut = [
        photograph[top : top + height * 2 : 2, left : left + width * 2 : 2]
        for photograph in datasets.load_sample_images().images
        for top, left in ((60, 200), (220, 350))
    ]
    if channels == 1:
        cut = [np.asarray(Image.fromarray(p).convert("L"))[..., None] for p in cut]
    return np.stack(cut)


def done(picture: np.ndarray, choice: menu.Choice, fill: int = 0) -> np.ndarray:
    """Returns the picture, uint8 [h, w, c], after the operation."""
    grey = picture.shape[-1] == 1
    image = Image.fromarray(picture[..., 0] if grey else picture)
    changed = np.asarray(_done(image, choice, fill))
    return changed[..., None] if grey else changed


def _done(image: Image.Image, choice: menu.Choice, fill: int) -> Image.Image:
    amount = choice.amount
    match choice.operation:
        case Op.IDENTITY:
            return image
        case Op.SHEAR_X:
            return moved(image, (1, amount, 0, 0, 1, 0), fill)
        case Op.SHEAR_Y:
            return moved(image, (1, 0, 0, amount, 1, 0), fill)
        case Op.TRANSLATE_X:
            return moved(image, (1, 0, amount, 0, 1, 0), fill)
        case Op.TRANSLATE_Y:
            return moved(image, (1, 0, 0, 0, 1, amount), fill)
        case Op.ROTATE:
            return image.rotate(amount, fillcolor=colour(image, fill))
        case Op.BRIGHTNESS:
            return ImageEnhance.Brightness(image).enhance(amount)
        case Op.SATURATION:
            return ImageEnhance.Color(image).enhance(amount)
        case Op.CONTRAST:
            return ImageEnhance.Contrast(image).enhance(amount)
        case Op.SHARPNESS:
            return ImageEnhance.Sharpness(image).enhance(amount)
        case Op.HUE:
            return _turned(image, amount)
        case Op.POSTERISE:
            return ImageOps.posterize(image, int(amount))
        case Op.SOLARISE:
            return ImageOps.solarize(image, amount)
        case Op.AUTO_CONTRAST:
            return ImageOps.autocontrast(image)
        case Op.EQUALISE:
            return ImageOps.equalize(image)
        case Op.INVERT:
            return ImageOps.invert(image)
    raise AssertionError(choice)


def moved(
    image: Image.Image,
    matrix: tuple[float, ...],
    fill: int,
    resample: Image.Resampling = Image.Resampling.NEAREST,
) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample,
        fillcolor=colour(image, fill),
    )


def colour(image: Image.Image, fill: int) -> int | tuple[int, ...]:
    return fill if image.mode == "L" else (fill,) * 3


def _turned(image: Image.Image, circles: float) -> Image.Image:
    if image.mode == "L":
        return image
    hue, *rest = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(int) + round(circles * 255)) % 256
    channels = (Image.fromarray(turned.astype(np.uint8)), *rest)
    return Image.merge("HSV", channels).convert("RGB")
