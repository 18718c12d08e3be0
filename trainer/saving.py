"""When training saves: actions that hand weights to the background."""

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

Submit = Callable[[Callable[[], None]], None]


class Save:
    """Writes checkpoints beside training; every process calls it alike.

    Args:
        on: Its chief writes.
        train: What is saved.
        to: Where.
        background: Does the writing.
        check: Raises an error, in all processes alike, where the weights are
            not worth saving.
    """

    def __init__(
        self,
        on: engine.Engine,
        train: state.TrainState,
        to: checkpoint.Checkpoints,
        background: saver.Saver,
        check: Callable[[], None],
    ) -> None:
        self._engine = on
        self._train = train
        self._checkpoints = to
        self._background = background
        self._check = check
        self._latest: int | None = None

    def __call__(self, step: int) -> None:
        """Takes the weights as they are; they are committed a little later.

        Raises:
            errors.DivergedError: The weights do not pass the check; nothing is
                written.
            errors.CheckpointError: An earlier checkpoint could not be written.
        """
        if step == self._latest:
            return
        self._check()
        arrays = self._train.arrays()
        agreement.on_chief(
            self._engine,
            lambda: self._background.submit(
                lambda: self._checkpoints.save(step, arrays)
            ),
        )
        self._latest = step

    def finish(self, step: int) -> None:
        """Saves a step and returns when everything is committed."""
        self(step)
        agreement.on_chief(self._engine, self._background.wait)


class KeepBest:
    """Keeps the best weights, and asks training to end without a better one.

    Args:
        kept: Where they are kept, and by what.
        train: The weights.
        submit: Carries out a save, now or later.
        patience: Steps without a better result after which `early.ask` is
            called; None: never.
    """

    def __init__(
        self,
        kept: best.Best,
        train: state.TrainState,
        submit: Submit,
        patience: int | None,
    ) -> None:
        self._kept = kept
        self._train = train
        self._submit = submit
        self._patience = patience
        self._best = kept.current()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of the weights as they are; on the chief only."""
        offered = best.Score(step, metrics[self._kept.metric])
        if self._best is None or self._kept.is_better(offered, self._best):
            self._best = offered
            arrays = self._train.arrays()
            self._submit(lambda: self._kept.save(step, arrays, metrics))
            logging.info(
                "step %d: the best %s so far, %.4f.",
                step,
                self._kept.metric,
                offered.value,
            )
        waited = step - self._best.step
        if self._patience is not None and waited >= self._patience:
            early.ask(
                self._kept.model_dir,
                step,
                f"{self._kept.metric} has not been better than "
                f"{self._best.value:.4f}, of step {self._best.step}, for "
                f"{waited} steps (train.early_stopping)",
            )
