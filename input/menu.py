"""The operations of Pillow that a policy chooses from, made ready beforehand.

A policy chooses for each image among a fixed list of operations and amounts.
What does not depend on the picture is made once, in float64, for the whole
list: the look-up table, the factor and the affine map of each choice. On the
device an image picks its row of those, so that every engine and compiler does
the same in whole numbers.
"""

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from input import affine, levels


class Operation(enum.IntEnum):
    """What can be done to an image; the amount is in the units given."""

    IDENTITY = 0
    SHEAR_X = 1  # Columns a row, from the top left corner.
    SHEAR_Y = 2  # Rows a column.
    TRANSLATE_X = 3  # Pixels, to the left.
    TRANSLATE_Y = 4  # Pixels, up.
    ROTATE = 5  # Degrees, anticlockwise, about the middle.
    BRIGHTNESS = 6  # Factor in 0..2, as the next three; 1 changes nothing.
    SATURATION = 7
    CONTRAST = 8
    SHARPNESS = 9
    HUE = 10  # Share of the circle of colours, -0.5..0.5.
    POSTERISE = 11  # Bits to keep, 1..8.
    SOLARISE = 12  # Levels from here on are inverted, 0..256.
    AUTO_CONTRAST = 13
    EQUALISE = 14
    INVERT = 15


@dataclasses.dataclass(frozen=True)
class Choice:
    """An operation and how much of it."""

    operation: Operation
    amount: float = 0.0


@dataclasses.dataclass(frozen=True)
class Menu:
    """All choices of a policy, for images of one size.

    Attributes:
        operation: int32 [n].
        factor: int32 [n]: as for `levels.blend`, or for `levels.turn_hue`.
        table: uint8 [n, 256]; the identity where the picture decides.
        maps: int32 [n, 6], as for `affine.resample`.
    """

    operation: np.ndarray
    factor: np.ndarray
    table: np.ndarray
    maps: np.ndarray


def make(choices: Sequence[Choice], height: int, width: int) -> Menu:
    """Makes what the choices need, for images of that size."""
    maps = [matrix(choice, height, width) for choice in choices]
    return Menu(
        operation=np.array([c.operation for c in choices], np.int32),
        factor=np.array([_factor(c) for c in choices], np.int32),
        table=np.array([_table(c) for c in choices], np.uint8),
        maps=affine.fixed(np.array(maps)),
    )


def _factor(choice: Choice) -> int:
    match choice.operation:
        case (
            Operation.BRIGHTNESS
            | Operation.SATURATION
            | Operation.CONTRAST
            | Operation.SHARPNESS
        ):
            return round(choice.amount * levels.ONE)
        case Operation.HUE:
            return round(choice.amount * 255) % 256
    return 0


def _table(choice: Choice) -> np.ndarray:
    level = np.arange(256)
    match choice.operation:
        case Operation.BRIGHTNESS:
            return levels.blend_numpy(0, level, _factor(choice))
        case Operation.POSTERISE:
            return level & ~((1 << (8 - int(choice.amount))) - 1)
        case Operation.SOLARISE:
            return np.where(level < choice.amount, level, 255 - level)
        case Operation.INVERT:
            return 255 - level
    return level


def matrix(choice: Choice, height: int, width: int) -> list[float]:
    """Returns what Image.transform takes: six numbers, in pixels."""
    amount = choice.amount
    match choice.operation:
        case Operation.SHEAR_X:
            return [1, amount, 0, 0, 1, 0]
        case Operation.SHEAR_Y:
            return [1, 0, 0, amount, 1, 0]
        case Operation.TRANSLATE_X:
            return [1, 0, amount, 0, 1, 0]
        case Operation.TRANSLATE_Y:
            return [1, 0, 0, 0, 1, amount]
        case Operation.ROTATE:
            linear = affine.rotation(np.asarray(amount))
            return affine.about_centre(linear, height, width).tolist()
    return [1, 0, 0, 0, 1, 0]
