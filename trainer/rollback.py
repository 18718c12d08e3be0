"""What follows a divergence: the end, or another way from a checkpoint.

Going back alone would lead to the same place. So the batches read since the
checkpoint are left out: `History.data_offset` moves the data ahead of the step,
and is in every later checkpoint. Chowdhery et al. 2022 (PaLM, arXiv:2204.02311,
section 5.1) got past loss spikes in this way.
"""

from collections.abc import Callable

from absl import logging

from trainer import errors, session, writer


class Rollback:
    """Decides what follows a divergence, in all processes alike.

    Args:
        parts: The run.
        out: Gets a line for each rollback.
        restore: Sets all variables to the newest checkpoint, in all processes,
            and returns its step.
    """

    def __init__(
        self,
        parts: session.Session,
        out: writer.Writer,
        restore: Callable[[], int],
    ) -> None:
        self._parts = parts
        self._out = out
        self._restore = restore

    def run(self, train_from: Callable[[int], int], start: int) -> int:
        """Returns what `train_from` returns, in the end.

        Args:
            train_from: Trains on from a step; may raise DivergedError, and is
                then called again with an earlier one.
            start: The first step it is called with.

        Raises:
            errors.DivergedError: The recipe says to stop, or there have
                been too many rollbacks.
        """
        while True:
            try:
                return train_from(start)
            except errors.DivergedError as error:
                start = self._after(error)

    def _after(self, error: errors.DivergedError) -> int:
        """Returns the step to go on from, with its variables restored."""
        recipe, history = self._parts.recipe, self._parts.state.history
        number = int(history.rollbacks.numpy()) + 1
        if recipe.on_divergence == "stop":
            raise _final(
                error,
                "Lower the learning rate, lengthen the warm-up or set the "
                "optimizer's clip_norm; or go on past these batches with "
                'train.on_divergence="rollback".',
            ) from None
        if number > recipe.max_rollbacks:
            raise _final(
                error,
                f"It has been rolled back train.max_rollbacks="
                f"{recipe.max_rollbacks} times already. Lower the learning "
                "rate, lengthen the warm-up or set the optimizer's clip_norm.",
            ) from None
        next_batch = error.step + int(history.data_offset.numpy())
        step = self._restore()
        # The checkpoint knows nothing of what came after it.
        history.data_offset.assign(next_batch - step)
        history.rollbacks.assign(number)
        logging.warning(
            "%s Going back to step %d and past %d batches: rollback %d of "
            "train.max_rollbacks=%d.",
            error,
            step,
            error.step - step,
            number,
            recipe.max_rollbacks,
        )
        self._out.write(
            "rollback",
            error.step,
            {
                "to_step": step,
                "reason": error.reason,
                "batches_left_out": error.step - step,
                "rollbacks": number,
            },
        )
        return step


def _final(error: errors.DivergedError, advice: str) -> errors.DivergedError:
    return errors.DivergedError(
        f"{error} No checkpoint of this state is written. {advice}",
        error.reason,
        error.step,
    )
