"""Which metrics an evaluation has, and how they follow from its predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from trainer import bootstrap, calibration, predictions, ranking, scores

_AVERAGES = ("macro", "micro", "weighted")
_OF_DECISIONS = ("precision", "recall", "f1")
# Steps of resampled average precision: about two seconds.
_MOST_RANKED = 1 << 28
_GIB = 2**30

Probabilities = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What predictions are worth.

    Attributes:
        metrics: Name to value; NaN where a metric is not defined.
        intervals: 95 % intervals of some of them.
        confusion_matrix: int64 [C, C], rows true; [C, 2, 2] of multi-label
            data, one matrix for each class.
        reliability: How often predictions of some confidence are right.
        scaled: The same with the fitted temperature; None without logits.
        ranking: ROC and precision-recall of each class, likewise.
    """

    metrics: dict[str, float]
    intervals: dict[str, bootstrap.Interval]
    confusion_matrix: np.ndarray
    reliability: calibration.Reliability
    scaled: calibration.Reliability | None
    ranking: ranking.Ranking | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring:
    """Metrics of an evaluation; in gin files its name is `metrics`.

    Attributes:
        top_k: Besides `top_1_accuracy`, these `top_K_accuracy`, each K at
            least 1.
        threshold: Of multi-label data: a class is predicted from this
            probability on, in (0, 1).
        calibration_bins: Of the expected calibration error and the
            reliability diagram, at least 1.
        resamples: Of the bootstrap, for 95 % intervals; 0: no intervals.
        max_bytes: Most memory, in each process, for the logits of a split:
            4 bytes x examples x classes. A larger split has neither
            `roc_auc_macro`, `average_precision_macro` nor a temperature.
    """

    top_k: Sequence[int] = (5,)
    threshold: float = 0.5
    calibration_bins: int = calibration.BINS
    resamples: int = 1000
    max_bytes: int = 2 * _GIB

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for k in self.top_k:
            if isinstance(k, bool) or k < 1:
                raise ValueError(
                    f"top_k={list(self.top_k)} has {k}; each must be at least "
                    "1, such as top_k = [5]."
                )
        if not 0 < self.threshold < 1:
            raise ValueError(
                f"threshold={self.threshold} must be above 0 and below 1: the "
                "probability from which on a class is predicted."
            )
        if self.calibration_bins < 1:
            raise ValueError(
                f"calibration_bins={self.calibration_bins} must be at least "
                "1; usual: 15."
            )
        if self.resamples < 0:
            raise ValueError(
                f"resamples={self.resamples} must be at least 1, such as "
                "1000, or 0 for no intervals."
            )
        if self.max_bytes < 0:
            raise ValueError(f"max_bytes={self.max_bytes} must be at least 0.")

    def keeps_logits(self, examples: int, classes: int) -> bool:
        """Whether the logits of a split of this size are kept."""
        return 4 * examples * classes <= self.max_bytes

    def names(self, multi_label: bool, with_logits: bool) -> list[str]:
        """Returns the metrics by which a checkpoint may be the best.

        Args:
            multi_label: Of such data.
            with_logits: Whether the logits of the split are kept.
        """
        found = ["loss", "nll", "brier_score"]
        if multi_label:
            found += ["subset_accuracy", "hamming_loss"]
        else:
            found += [_top(k) for k in self._ks]
            found.append("balanced_accuracy")
        found += [
            f"{what}_{how}" for what in _OF_DECISIONS for how in _AVERAGES
        ]
        found.append("expected_calibration_error")
        if with_logits:
            found += [
                "roc_auc_macro",
                "average_precision_macro",
                "nll_scaled",
                "expected_calibration_error_scaled",
            ]
        return found

    def score(
        self,
        found: predictions.Predictions,
        probabilities: Probabilities,
        activation: calibration.Activation,
        *,
        with_intervals: bool = True,
    ) -> Scores:
        """Returns the metrics of predictions.

        Args:
            found: At least one example.
            probabilities: From logits to probabilities, float32 [n, C] both.
            activation: What that is.
            with_intervals: Whether to draw resamples as well.
        """
        matrix = found.confusion_matrix()
        each = self._of_each(found)
        metrics = {name: _mean(values) for name, values in each.items()}
        if not found.multi_label:
            metrics["balanced_accuracy"] = scores.balanced_accuracy(matrix)
        metrics |= _averages(matrix)
        known = found.probabilities(probabilities)
        bins = self._reliability(found, known)
        metrics["expected_calibration_error"] = bins.error
        scaled = ranked = None
        if found.logits is not None and known is not None:
            ranked = ranking.rank_classes(found.labels, known)
            metrics["roc_auc_macro"] = ranked.macro_roc_auc
            metrics["average_precision_macro"] = ranked.macro_average_precision
            more, scaled = self._scaled(found, probabilities, activation)
            metrics |= more
        intervals = {}
        if with_intervals and self.resamples:
            intervals = self._intervals(found, each, known)
        return Scores(metrics, intervals, matrix, bins, scaled, ranked)

    @property
    def _ks(self) -> list[int]:
        return sorted({1, *self.top_k})

    def _of_each(self, found: predictions.Predictions) -> dict[str, np.ndarray]:
        """Returns what each example adds to a mean, float or bool [n]."""
        each = {
            "loss": found.loss,
            "nll": found.nll,
            "brier_score": found.brier,
        }
        if found.multi_label:
            wrong = found.labels != found.predicted
            each["subset_accuracy"] = ~wrong.any(axis=1)
            each["hamming_loss"] = wrong.mean(axis=1)
        else:
            each |= {_top(k): found.rank < k for k in self._ks}
        return each

    def _reliability(
        self, found: predictions.Predictions, known: np.ndarray | None
    ) -> calibration.Reliability:
        bins = self.calibration_bins
        if not found.multi_label:
            return calibration.reliability(
                found.confidence, found.rank == 0, bins
            )
        # Each class of each example is a prediction of its own.
        if known is None:
            raise ValueError("Multi-label predictions come with their logits.")
        return calibration.reliability(
            known.reshape([-1]), found.labels.reshape([-1]), bins
        )

    def _scaled(
        self,
        found: predictions.Predictions,
        probabilities: Probabilities,
        activation: calibration.Activation,
    ) -> tuple[dict[str, float], calibration.Reliability | None]:
        """Returns the temperature, and what it makes better."""
        if found.logits is None:
            return {}, None
        temperature = calibration.fit_temperature(
            found.labels, found.logits, activation
        )
        if not np.isfinite(temperature):
            return {
                "temperature": temperature,
                "nll_scaled": temperature,
                "expected_calibration_error_scaled": temperature,
            }, None
        scaled = predictions.in_parts(
            found.logits,
            lambda logits: probabilities(logits / np.float32(temperature)),
        )
        after = dataclasses.replace(found, confidence=scaled.max(axis=1))
        bins = self._reliability(after, scaled)
        return {
            "temperature": temperature,
            "nll_scaled": calibration.negative_log_likelihood(
                found.labels, found.logits, activation, 1 / temperature
            ),
            "expected_calibration_error_scaled": bins.error,
        }, bins

    def _intervals(
        self,
        found: predictions.Predictions,
        each: dict[str, np.ndarray],
        known: np.ndarray | None,
    ) -> dict[str, bootstrap.Interval]:
        examples = len(found.loss)
        parts = [
            bootstrap.means(each),
            bootstrap.of_classes(
                found.labels, found.predicted, found.num_classes
            ),
        ]
        if known is not None:
            steps = self.resamples * known.size
            if steps <= _MOST_RANKED and not np.isnan(known).any():
                parts.append(
                    bootstrap.mean_average_precision(found.labels, known)
                )
        return bootstrap.intervals(
            examples, bootstrap.together(*parts), self.resamples
        )


def accuracy_name(multi_label: bool) -> str:
    """Returns the metric that says how many examples are right."""
    return "subset_accuracy" if multi_label else "top_1_accuracy"


def accuracy_label(multi_label: bool) -> str:
    """Returns the same for people."""
    return "subset accuracy" if multi_label else "top-1 accuracy"


def _top(k: int) -> str:
    return f"top_{k}_accuracy"


def _mean(values: np.ndarray) -> float:
    # In the order of the split: the same at any number of replicas.
    return float(values.sum(dtype=np.float64) / len(values))


def _averages(matrix: np.ndarray) -> dict[str, float]:
    of_classes = scores.class_scores(matrix)
    averages = {
        "macro": scores.macro_average(of_classes),
        "micro": scores.micro_average(matrix),
        "weighted": scores.weighted_average(of_classes),
    }
    return {
        f"{what}_{how}": getattr(averages[how], what)
        for what in _OF_DECISIONS
        for how in _AVERAGES
    }
