"""Finds out, after each stretch of steps, that training has gone wrong.

All that is looked at has been all-reduced, so that all processes find the same
after the same step. What follows is decided in trainer/rollback.py.
"""

import math

import tensorflow as tf

from trainer import errors, loop, session

# The loss scale of float16 comes from 2**24 down to 1 in 24 skipped steps: with
# one more, the gradients themselves are not finite.
_MOST_SKIPPED = 25
# Of the mean that a spike is held against; a loss counts half after 69 steps.
_DECAY_OF_A_STEP = 0.99
_MOST_SHARDS = 8


class Guard:
    """Raises errors.DivergedError where training has gone wrong.

    Args:
        parts: The run.
    """

    def __init__(self, parts: session.Session) -> None:
        self._parts = parts
        self._latest: loop.Progress | None = None

    def __call__(self, latest: loop.Progress) -> None:
        """Looks at the last stretch, and remembers its loss.

        Raises:
            errors.DivergedError: The loss is not finite, it is a spike, or too
                many steps in a row have been skipped.
        """
        self._latest = latest
        if not math.isfinite(latest.loss):
            self._fail(f"the loss is {latest.loss}")
        if latest.skipped_in_a_row >= _MOST_SKIPPED:
            self._fail(
                f"the gradients of {latest.skipped_in_a_row:.0f} steps in a "
                "row were not finite, and the weights were left alone"
            )
        if self._parts.recipe.spike_factor is not None:
            self._compare(latest, self._parts.recipe.spike_factor)

    def check_weights(self) -> None:
        """Looks at what a checkpoint would hold.

        The loss shows only a step later that an update has ruined a weight.

        Raises:
            errors.DivergedError: A variable is not finite.
        """
        for name, variable in self._parts.state.variables().items():
            if variable.dtype.is_floating and not tf.reduce_all(
                tf.math.is_finite(variable)
            ):
                self._fail(f"{name} is not finite")

    def _compare(self, latest: loop.Progress, factor: float) -> None:
        """Holds the loss against the mean of earlier stretches."""
        history = self._parts.state.history
        total = float(history.loss_sum.numpy())
        weight = float(history.loss_weight.numpy())
        if weight and latest.loss > factor * total / weight:
            self._fail(
                f"the loss is {latest.loss:.4g}, above train.spike_factor="
                f"{factor:g} times {total / weight:.4g}, the mean of earlier "
                "steps"
            )
        kept = _DECAY_OF_A_STEP**latest.steps
        history.loss_sum.assign(kept * total + (1 - kept) * latest.loss)
        history.loss_weight.assign(kept * weight + (1 - kept))

    def _fail(self, reason: str) -> None:
        latest = self._latest
        if latest is None:
            raise errors.DivergedError(
                f"Before the first step {reason}.", reason, 0
            )
        first = latest.step - latest.steps
        names = self._parts.shards_read(range(first, latest.step))
        more = len(names) - _MOST_SHARDS
        shards = ", ".join(names[:_MOST_SHARDS])
        if more > 0:
            shards += f" and {more} more"
        steps = f"step {latest.step}"
        if latest.steps > 1:
            steps = f"steps {first + 1} to {latest.step}"
        raise errors.DivergedError(
            f"Training has diverged in {steps}: "
            f"{reason}. Loss {latest.loss:.4g}; of the last step, learning "
            f"rate {latest.learning_rate:.3g} and gradient norm "
            f"{latest.gradient_norm:.3g}; {latest.skipped:.0f} of "
            f"{latest.steps} steps skipped. This host has read: {shards}.",
            reason,
            latest.step,
        )
