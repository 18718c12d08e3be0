"""When training saves: actions that hand weights to the background."""

import math
from collections.abc import Callable, Mapping

from absl import logging

from trainer import (
    agreement,
    best,
    checkpoint,
    early,
    engine,
    saver,
    state,
)


class Save:
    """Writes checkpoints beside training; every process calls it alike.

    Args:
        on: Its chief writes.
        train: What is saved.
        to: Where.
        background: Does the writing.
        check: Raises an error, in all processes alike, where the weights are
            not worth saving.
        committed: Called with the step of a checkpoint that is.
    """

    def __init__(
        self,
        on: engine.Engine,
        train: state.TrainState,
        to: checkpoint.Checkpoints,
        background: saver.Saver,
        check: Callable[[], None],
        committed: Callable[[int], object] = lambda step: None,
    ) -> None:
        self._engine = on
        self._train = train
        self._checkpoints = to
        self._background = background
        self._check = check
        self._committed = committed

    def __call__(self, step: int) -> None:
        """Takes the weights as they are; they are committed a little later.

        Raises:
            errors.DivergedError: The weights do not pass the check; nothing is
                written.
            errors.CheckpointError: An earlier checkpoint could not be written.
        """
        self._check()

        def prepare() -> saver.Save:
            arrays = self._train.arrays()

            def save() -> None:
                self._checkpoints.save(step, arrays)
                self._committed(step)

            return save

        agreement.on_chief(
            self._engine, lambda: self._background.submit(prepare)
        )

    def finish(self, step: int) -> None:
        """Saves a step and returns when everything is committed."""
        self(step)
        agreement.on_chief(self._engine, self._background.wait)


class KeepBest:
    """Keeps the best weights, and asks training to end without a better one.

    Args:
        kept: Where they are kept, and by what.
        train: The weights.
        background: Does the saving; None: it is done before anything else.
        patience: Steps without a better result after which `early.ask` is
            called; None: never.
        since: The step from which they count at the earliest: where the last
            phase begins. What the head alone can learn is no reason to leave
            out the rest.
    """

    def __init__(
        self,
        kept: best.Best,
        train: state.TrainState,
        background: saver.Saver | None,
        patience: int | None,
        since: int = 0,
    ) -> None:
        self._kept = kept
        self._train = train
        self._background = background
        self._patience = patience
        self._since = since
        # Offered, but perhaps not on the disk yet.
        self._offered: best.Score | None = None

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of the weights as they are; on the chief only."""
        new = best.Score(step, metrics[self._kept.metric])
        known = self._known()
        if known is None or self._kept.is_better(new, known):
            known = new
            self._save(step, metrics)
            if math.isfinite(new.value):
                logging.info(
                    "step %d: the best %s so far, %.4f.",
                    step,
                    self._kept.metric,
                    new.value,
                )
        if not math.isfinite(new.value):
            logging.warning(
                "step %d: %s is %s, so that it cannot say which checkpoint is "
                "the best: the split may have too few classes for it "
                "(docs/evaluation.md). Choose another train.best_metric.",
                step,
                self._kept.metric,
                new.value,
            )
        waited = step - max(known.step, self._since)
        if self._patience is not None and waited >= self._patience:
            than = f"better than {known.value:.4f}, of step {known.step},"
            if not math.isfinite(known.value):
                than = "a number"
            early.ask(
                self._kept.model_dir,
                step,
                f"{self._kept.metric} has not been {than} for {waited} steps "
                "(train.early_stopping)",
            )

    def _known(self) -> best.Score | None:
        """Returns the best so far, whoever has found it."""
        found = self._kept.current()
        mine = self._offered
        if mine is None or (found and self._kept.is_better(found, mine)):
            return found
        return mine

    def _save(self, step: int, metrics: Mapping[str, float]) -> None:
        def prepare() -> saver.Save:
            arrays = self._train.arrays()
            return lambda: self._kept.save(step, arrays, metrics)

        if self._background is None:
            prepare()()
            return
        self._background.submit(prepare)
        self._offered = best.Score(step, metrics[self._kept.metric])
