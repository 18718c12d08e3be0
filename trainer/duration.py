"""Lengths of training as people write them: ``"90 epochs"``, ``"50 steps"``."""

import dataclasses
import re
from typing import Literal

from trainer import errors

_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(step|epoch)s?\s*")


@dataclasses.dataclass(frozen=True)
class Horizon:
    """How long a run is, in steps: what schedules and durations refer to.

    Attributes:
        total_steps: Optimizer steps in the whole run, at least 1.
        steps_per_epoch: Examples of the training split divided by the global
            batch size; not rounded, since batches run across epoch ends.
    """

    total_steps: int
    steps_per_epoch: float


@dataclasses.dataclass(frozen=True)
class Duration:
    """An amount of training, in optimizer steps or in epochs."""

    amount: float
    unit: Literal["step", "epoch"]

    def steps(self, steps_per_epoch: float) -> int:
        """Returns the duration as a number of steps, rounded to the nearest."""
        if self.unit == "step":
            return round(self.amount)
        return round(self.amount * steps_per_epoch)


def parse_window(text: str, name: str, steps_per_epoch: float) -> range:
    """Reads a stretch of a run, such as ``"100 steps at 500 steps"``.

    Args:
        text: Two durations with "at" between: how long, and after how much.
        name: The binding the text comes from, for the error message.
        steps_per_epoch: For windows in epochs.

    Returns:
        From the steps taken when it begins, at least 1, to those taken when it
        ends.

    Raises:
        errors.ConfigError: The text is something else.
    """
    length, _, start = text.partition(" at ")
    if not start:
        raise errors.ConfigError(
            f"{name}={text!r} must say how long and after how much, for "
            'example "100 steps at 500 steps".'
        )
    steps = parse(length, name).steps(steps_per_epoch)
    first = parse(start, name).steps(steps_per_epoch)
    if steps < 1 or first < 1:
        raise errors.ConfigError(
            f"{name}={text!r}: both must be at least 1 step; the first step of "
            "a run is spent compiling."
        )
    return range(first, first + steps)


def parse(text: str, name: str) -> Duration:
    """Reads a duration.

    Args:
        text: A number and a unit, for example ``"90 epochs"``, ``"0.5 epochs"``
            or ``"1000 steps"``.
        name: The binding the text comes from, for the error message.

    Raises:
        errors.ConfigError: The text is not a number with one of the units, or
            is a fraction of a step.
    """
    match = _PATTERN.fullmatch(text)
    if not match:
        raise errors.ConfigError(
            f"{name}={text!r} is not a duration. Write a number and a unit, "
            'for example "90 epochs" or "1000 steps".'
        )
    amount = float(match.group(1))
    if match.group(2) == "epoch":
        return Duration(amount, "epoch")
    if not amount.is_integer():
        raise errors.ConfigError(
            f"{name}={text!r}: a step cannot be divided. Write a whole number."
        )
    return Duration(amount, "step")
