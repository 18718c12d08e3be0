"""The best checkpoint by a metric, and how long ago it was.

What has been best so far is in the manifest of model_dir/best, so that it
outlives a restart. A trainer and an evaluation job may both offer: each adds
its checkpoint first and drops the worse ones then, so that the best stays
whoever comes last.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Literal

from absl import logging

from trainer import archive, checkpoint

_LESS_IS_BETTER = (
    "loss",
    "nll",
    "nll_scaled",
    "brier_score",
    "hamming_loss",
    "expected_calibration_error",
    "expected_calibration_error_scaled",
)
_GAP = "/accuracy_gap"  # between the best and the worst slice of a column

Direction = Literal["auto", "max", "min"]


@dataclasses.dataclass(frozen=True)
class Score:
    """What a checkpoint has reached.

    Attributes:
        step: Of its weights.
        value: Of the metric.
    """

    step: int
    value: float


@dataclasses.dataclass(frozen=True)
class Best:
    """Keeps the best checkpoint of a run in model_dir/best.

    Attributes:
        model_dir: Of the run.
        metric: Of the evaluation, any of `scoring.Scoring.names`.
        direction: Whether more is better; `auto`: unless it is a loss, a
            calibration error or the gap between slices.
        writer: Who offers; keeps temporary names apart.
    """

    model_dir: str
    metric: str = "top_1_accuracy"
    direction: Direction = "auto"
    writer: str = ".trainer"

    @property
    def checkpoints(self) -> checkpoint.Checkpoints:
        """The checkpoints in the folder: one, but for a moment."""
        return checkpoint.Checkpoints(
            os.path.join(self.model_dir, "best"),
            # Which one stays is decided by score.
            checkpoint.Retention(newest=2**31),
            writer=self.writer,
        )

    def current(self) -> Score | None:
        """Returns the best so far, or None where there is none that reads."""
        scores = self._scores()
        return self._best(scores) if scores else None

    def forget(self) -> None:
        """Drops what an earlier training has left."""
        self.checkpoints.retain([])

    def is_better(self, one: Score, other: Score) -> bool:
        """Returns whether one score is better than another; equals are not."""
        return self._rank(one) > self._rank(other)

    def save(
        self, step: int, arrays: archive.Arrays, metrics: Mapping[str, float]
    ) -> None:
        """Makes weights the best, unless better ones have come meanwhile.

        Raises:
            errors.CheckpointError: They cannot be written; the best so far
                stays.
        """
        new = Score(step, metrics[self.metric])
        # After a rollback a step comes again, with other weights.
        replace = any(
            old.step == step and self.is_better(new, old)
            for old in self._scores()
        )
        self.checkpoints.save(step, arrays, metrics, replace)
        self.tidy()

    def tidy(self) -> None:
        """Drops all but the best, which a kill may have prevented."""
        scores = self._scores()
        if scores:
            self.checkpoints.retain([self._best(scores).step])

    def _scores(self) -> list[Score]:
        found = []
        for step in self.checkpoints.steps():
            try:
                manifest = archive.read_manifest(self.checkpoints.path(step))
                found.append(Score(step, manifest["metrics"][self.metric]))
            except archive.Corrupt as corrupt:
                logging.warning("Not the best: %s", corrupt)
            except KeyError:
                logging.warning(
                    "%s has no metric %r: chosen by another one.",
                    self.checkpoints.path(step),
                    self.metric,
                )
        return found

    def _best(self, scores: list[Score]) -> Score:
        # Of equals the first: what is not better is no reason to change.
        return max(scores, key=lambda s: (self._rank(s), -s.step))

    def _rank(self, score: Score) -> float:
        # Nothing is worse than what is not a number.
        finite = math.isfinite(score.value)
        return self._sign * score.value if finite else -math.inf

    @property
    def _sign(self) -> int:
        if self.direction == "auto":
            less = self.metric in _LESS_IS_BETTER or self.metric.endswith(_GAP)
            return -1 if less else 1
        return 1 if self.direction == "max" else -1
