"""The phases of a run: what learns when, and by which optimizer.

A run without phases is one that has a single one. Each phase has an optimizer
of its own, whose schedule begins with it and whose slots begin at zero: what
momentum has gathered for the head says nothing of the layers that join it. The
slots of all phases are in every checkpoint, so that its variables are the same
from the first step to the last.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from models import freezing
from trainer import duration as duration_lib
from trainer import errors, optimizers

_NAME = "train.phases"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a run, as a gin file says it.

    Attributes:
        duration: How long, such as "5 epochs"; None, for the last: up to the
            end of the run.
        trainable: What learns: "all", "head", or such as "last 3 blocks".
        freeze_batch_norm: Whether batch norm is frozen also where the rest
            learns.
        optimizer: None: `train.optimizer`.
    """

    duration: str | None = None
    trainable: str = "all"
    freeze_batch_norm: bool = False
    optimizer: optimizers.Optimizer | None = None

    def __post_init__(self) -> None:
        freezing.parse(self.trainable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """A phase, and where in the run it lies.

    Attributes:
        index: From 0.
        start: Steps of the run before it.
        until: Steps of the run after which it ends.
        horizon: Its length, for the schedule.
        trainable: What learns.
        freeze_batch_norm: Whether batch norm is frozen everywhere.
        optimizer: Of these steps.
    """

    index: int
    start: int
    until: int
    horizon: duration_lib.Horizon
    trainable: str
    freeze_batch_norm: bool
    optimizer: optimizers.Optimizer

    def describe(self) -> str:
        """Returns what learns, in words."""
        frozen = ", batch norm frozen" if self.freeze_batch_norm else ""
        return f"trainable {self.trainable!r}{frozen}"

    def learning_rate(self, step: tf.Tensor) -> tf.Tensor:
        """Returns that of the step after `step` steps of the run.

        Args:
            step: int64 scalar.
        """
        return self.optimizer.learning_rate(step - self.start, self.horizon)


def spans(
    phases: Sequence[Phase],
    optimizer: optimizers.Optimizer,
    horizon: duration_lib.Horizon,
) -> list[Span]:
    """Returns the phases in their places, one after the other.

    Args:
        phases: At least one.
        optimizer: Of those that have none.
        horizon: Length of the run.

    Raises:
        errors.ConfigError: A phase is less than a step, or has no length, or
            they do not fit into the run.
    """
    found: list[Span] = []
    start = 0
    for i, phase in enumerate(phases):
        last = i == len(phases) - 1
        until = horizon.total_steps
        if not last:
            until = start + _steps(phase, i, horizon)
        elif phase.duration is not None:
            raise errors.ConfigError(
                f"{_NAME}: the last one has duration={phase.duration!r}, but "
                "it lasts to the end of the run: leave it out, and give "
                "train.duration the length of all phases together."
            )
        if not start < until or (not last and until >= horizon.total_steps):
            raise errors.ConfigError(
                f"{_NAME}: number {i + 1} ends at step {until}, which must be "
                "before the end of the run, after train.duration: step "
                f"{horizon.total_steps}. It is the length of all phases "
                "together: make it longer, or the phase shorter."
            )
        length = duration_lib.Horizon(until - start, horizon.steps_per_epoch)
        found.append(
            Span(
                index=i,
                start=start,
                until=until,
                horizon=length,
                trainable=phase.trainable,
                freeze_batch_norm=phase.freeze_batch_norm,
                optimizer=phase.optimizer or optimizer,
            )
        )
        start = until
    return found


def _steps(phase: Phase, index: int, horizon: duration_lib.Horizon) -> int:
    if phase.duration is None:
        raise errors.ConfigError(
            f"{_NAME}: number {index + 1} has no duration. All but the last "
            'need one, such as `phase.duration = "5 epochs"`.'
        )
    parsed = duration_lib.parse(phase.duration, "phase.duration")
    steps = parsed.steps(horizon.steps_per_epoch)
    if steps < 1:
        raise errors.ConfigError(
            f"{_NAME}: duration={phase.duration!r} of number {index + 1} is "
            "less than one step."
        )
    return steps


def at(places: Sequence[Span], step: int) -> Span:
    """Returns the phase that the step after `step` steps is in.

    After the end of the run that is the last.
    """
    return next((s for s in places if step < s.until), places[-1])
