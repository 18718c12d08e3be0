"""What Pillow makes of a picture: the reference for the augmentations."""

import functools

import numpy as np
from PIL import Image
from sklearn import datasets

from benchmarks import augment_contenders as benchmark
from input import menu


@functools.cache
def pictures(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Four cut-outs of two real photographs: uint8 [4, h, w, c]."""
    cut = [
        photograph[top : top + height * 2 : 2, left : left + width * 2 : 2]
        for photograph in datasets.load_sample_images().images
        for top, left in ((60, 200), (220, 350))
    ]
    if channels == 1:
        cut = [
            np.asarray(Image.fromarray(p).convert("L"))[..., None] for p in cut
        ]
    return np.stack(cut)


def done(picture: np.ndarray, choice: menu.Choice, fill: int = 0) -> np.ndarray:
    """Returns the picture, uint8 [h, w, c], after the operation."""
    grey = picture.shape[-1] == 1
    image = Image.fromarray(picture[..., 0] if grey else picture)
    changed = np.asarray(_done(image, choice, fill))
    return changed[..., None] if grey else changed


def _done(image: Image.Image, choice: menu.Choice, fill: int) -> Image.Image:
    if choice.operation == menu.Operation.HUE:
        return _turned(image, choice.amount)
    return benchmark.with_pillow(image, choice, fill)


def _turned(image: Image.Image, circles: float) -> Image.Image:
    if image.mode == "L":
        return image
    hue, *rest = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(int) + round(circles * 255)) % 256
    channels = (Image.fromarray(turned.astype(np.uint8)), *rest)
    return Image.merge("HSV", channels).convert("RGB")
