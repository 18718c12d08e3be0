"""The pairs of operations that AutoAugment learned.

Source: Cubuk et al. 2018, arXiv:1805.09501, tables 7 (CIFAR-10) and 9
(ImageNet).
"""

from typing import NamedTuple

from input.menu import Operation as _Op


class Step(NamedTuple):
    """One operation of a pair.

    Attributes:
        operation: What is done.
        chance: How often, in [0, 1].
        magnitude: How much, in 0..9; 0 where there is but one amount.
    """

    operation: _Op
    chance: float
    magnitude: int


Pair = tuple[Step, Step]

_IMAGENET: tuple[Pair, ...] = (
    (Step(_Op.POSTERISE, 0.4, 8), Step(_Op.ROTATE, 0.6, 9)),
    (Step(_Op.SOLARISE, 0.6, 5), Step(_Op.AUTO_CONTRAST, 0.6, 0)),
    (Step(_Op.EQUALISE, 0.8, 0), Step(_Op.EQUALISE, 0.6, 0)),
    (Step(_Op.POSTERISE, 0.6, 7), Step(_Op.POSTERISE, 0.6, 6)),
    (Step(_Op.EQUALISE, 0.4, 0), Step(_Op.SOLARISE, 0.2, 4)),
    (Step(_Op.EQUALISE, 0.4, 0), Step(_Op.ROTATE, 0.8, 8)),
    (Step(_Op.SOLARISE, 0.6, 3), Step(_Op.EQUALISE, 0.6, 0)),
    (Step(_Op.POSTERISE, 0.8, 5), Step(_Op.EQUALISE, 1.0, 0)),
    (Step(_Op.ROTATE, 0.2, 3), Step(_Op.SOLARISE, 0.6, 8)),
    (Step(_Op.EQUALISE, 0.6, 0), Step(_Op.POSTERISE, 0.4, 6)),
    (Step(_Op.ROTATE, 0.8, 8), Step(_Op.SATURATION, 0.4, 0)),
    (Step(_Op.ROTATE, 0.4, 9), Step(_Op.EQUALISE, 0.6, 0)),
    (Step(_Op.EQUALISE, 0.0, 0), Step(_Op.EQUALISE, 0.8, 0)),
    (Step(_Op.INVERT, 0.6, 0), Step(_Op.EQUALISE, 1.0, 0)),
    (Step(_Op.SATURATION, 0.6, 4), Step(_Op.CONTRAST, 1.0, 8)),
    (Step(_Op.ROTATE, 0.8, 8), Step(_Op.SATURATION, 1.0, 2)),
    (Step(_Op.SATURATION, 0.8, 8), Step(_Op.SOLARISE, 0.8, 7)),
    (Step(_Op.SHARPNESS, 0.4, 7), Step(_Op.INVERT, 0.6, 0)),
    (Step(_Op.SHEAR_X, 0.6, 5), Step(_Op.EQUALISE, 1.0, 0)),
    (Step(_Op.SATURATION, 0.4, 0), Step(_Op.EQUALISE, 0.6, 0)),
    (Step(_Op.EQUALISE, 0.4, 0), Step(_Op.SOLARISE, 0.2, 4)),
    (Step(_Op.SOLARISE, 0.6, 5), Step(_Op.AUTO_CONTRAST, 0.6, 0)),
    (Step(_Op.INVERT, 0.6, 0), Step(_Op.EQUALISE, 1.0, 0)),
    (Step(_Op.SATURATION, 0.6, 4), Step(_Op.CONTRAST, 1.0, 8)),
    (Step(_Op.EQUALISE, 0.8, 0), Step(_Op.EQUALISE, 0.6, 0)),
)

_CIFAR10: tuple[Pair, ...] = (
    (Step(_Op.INVERT, 0.1, 0), Step(_Op.CONTRAST, 0.2, 6)),
    (Step(_Op.ROTATE, 0.7, 2), Step(_Op.TRANSLATE_X, 0.3, 9)),
    (Step(_Op.SHARPNESS, 0.8, 1), Step(_Op.SHARPNESS, 0.9, 3)),
    (Step(_Op.SHEAR_Y, 0.5, 8), Step(_Op.TRANSLATE_Y, 0.7, 9)),
    (Step(_Op.AUTO_CONTRAST, 0.5, 0), Step(_Op.EQUALISE, 0.9, 0)),
    (Step(_Op.SHEAR_Y, 0.2, 7), Step(_Op.POSTERISE, 0.3, 7)),
    (Step(_Op.SATURATION, 0.4, 3), Step(_Op.BRIGHTNESS, 0.6, 7)),
    (Step(_Op.SHARPNESS, 0.3, 9), Step(_Op.BRIGHTNESS, 0.7, 9)),
    (Step(_Op.EQUALISE, 0.6, 0), Step(_Op.EQUALISE, 0.5, 0)),
    (Step(_Op.CONTRAST, 0.6, 7), Step(_Op.SHARPNESS, 0.6, 5)),
    (Step(_Op.SATURATION, 0.7, 7), Step(_Op.TRANSLATE_X, 0.5, 8)),
    (Step(_Op.EQUALISE, 0.3, 0), Step(_Op.AUTO_CONTRAST, 0.4, 0)),
    (Step(_Op.TRANSLATE_Y, 0.4, 3), Step(_Op.SHARPNESS, 0.2, 6)),
    (Step(_Op.BRIGHTNESS, 0.9, 6), Step(_Op.SATURATION, 0.2, 8)),
    (Step(_Op.SOLARISE, 0.5, 2), Step(_Op.INVERT, 0.0, 0)),
    (Step(_Op.EQUALISE, 0.2, 0), Step(_Op.AUTO_CONTRAST, 0.6, 0)),
    (Step(_Op.EQUALISE, 0.2, 0), Step(_Op.EQUALISE, 0.6, 0)),
    (Step(_Op.SATURATION, 0.9, 9), Step(_Op.EQUALISE, 0.6, 0)),
    (Step(_Op.AUTO_CONTRAST, 0.8, 0), Step(_Op.SOLARISE, 0.2, 8)),
    (Step(_Op.BRIGHTNESS, 0.1, 3), Step(_Op.SATURATION, 0.7, 0)),
    (Step(_Op.SOLARISE, 0.4, 5), Step(_Op.AUTO_CONTRAST, 0.9, 0)),
    (Step(_Op.TRANSLATE_Y, 0.9, 9), Step(_Op.TRANSLATE_Y, 0.7, 9)),
    (Step(_Op.AUTO_CONTRAST, 0.9, 0), Step(_Op.SOLARISE, 0.8, 3)),
    (Step(_Op.EQUALISE, 0.8, 0), Step(_Op.INVERT, 0.1, 0)),
    (Step(_Op.TRANSLATE_Y, 0.7, 9), Step(_Op.AUTO_CONTRAST, 0.9, 0)),
)

POLICIES = {"imagenet": _IMAGENET, "cifar10": _CIFAR10}
