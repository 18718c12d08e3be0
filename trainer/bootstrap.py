"""Confidence intervals of metrics, by drawing the examples again.

A resample of n examples has n drawn with replacement; what a metric is on a
thousand of them says how far it might be off. The interval has 2.5 % of them on
each side. Source: Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from trainer import scores

Interval = tuple[float, float]
# From how often each example was drawn, int64 [r, n], to a metric, float [r].
Statistics = Callable[[np.ndarray], Mapping[str, np.ndarray]]

# Drawn at once: 32 MiB of numbers.
_CHUNK = 1 << 22


def intervals(
    examples: int, statistics: Statistics, resamples: int, seed: int = 0
) -> dict[str, Interval]:
    """The 95 % interval of each metric.

    Args:
      examples: how many there are, at least 1.
      statistics: computes metrics of resamples.
      resamples: how many, at least 1; the same seed draws the same.
      seed: of the draws.

    Returns:
      Lower and upper end by name; NaN where a metric is not defined.
    """
    found: dict[str, list[np.ndarray]] = {}
    for draws in _draws(examples, resamples, seed):
        for name, values in statistics(draws).items():
            found.setdefault(name, []).append(values)
    ends = {
        name: np.quantile(np.concatenate(parts), [0.025, 0.975])
        for name, parts in found.items()
    }
    return {
        name: (float(low), float(high)) for name, (low, high) in ends.items()
    }


def _draws(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each example is drawn, int64 [r, examples]."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _CHUNK // examples)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(examples, size=(rows, examples))
        # One count for all rows: each has numbers of its own.
        drawn += examples * np.arange(rows)[:, None]
        counts = np.bincount(drawn.reshape([-1]), minlength=rows * examples)
        yield counts.reshape([rows, examples])


def means(values: Mapping[str, np.ndarray]) -> Statistics:
    """Metrics that are the mean of a number of each example.

    Args:
      values: float [n] by name.
    """
    table = np.stack([np.asarray(v, np.float64) for v in values.values()], 1)

    def compute(draws: np.ndarray) -> dict[str, np.ndarray]:
        found = draws @ table / len(table)
        return dict(zip(values, found.T, strict=True))

    return compute


def of_classes(
    labels: np.ndarray, predicted: np.ndarray, classes: int
) -> Statistics:
    """`balanced_accuracy` and `f1_macro`, or F1 scores where labels are many.

    Args:
      labels: integers [n], or bool [n, C] of multi-label data.
      predicted: the same of the prediction.
      classes: C.
    """
    if labels.ndim == 2:
        return _of_label_sets(labels, predicted)
    right = np.where(labels == predicted, labels, classes)

    def counted(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                np.bincount(values, row, minlength=classes + 1)[:classes]
                for row in draws
            ]
        )

    def compute(draws: np.ndarray) -> dict[str, np.ndarray]:
        of_each = scores.scores_of(
            *(counted(v, draws) for v in (right, predicted, labels))
        )
        return {
            "balanced_accuracy": _macro(of_each.recall, of_each.support),
            "f1_macro": _macro(of_each.f1, of_each.support),
        }

    return compute


def _of_label_sets(labels: np.ndarray, predicted: np.ndarray) -> Statistics:
    # Float32 counts exactly up to 16 million examples.
    tables = [
        v.astype(np.float32) for v in (labels & predicted, predicted, labels)
    ]

    def compute(draws: np.ndarray) -> dict[str, np.ndarray]:
        weights = draws.astype(np.float32)
        counts = [(weights @ table).astype(np.float64) for table in tables]
        of_each = scores.scores_of(*counts)
        of_all = scores.scores_of(*(c.sum(axis=1) for c in counts))
        return {
            "f1_macro": _macro(of_each.f1, of_each.support),
            "f1_micro": of_all.f1,
        }

    return compute


def mean_average_precision(
    labels: np.ndarray, probabilities: np.ndarray
) -> Statistics:
    """`average_precision_macro`; takes resamples x n x C steps.

    Args:
      labels: integers [n], or bool [n, C].
      probabilities: float [n, C].
    """
    classes = probabilities.shape[1]
    if labels.ndim == 1:
        labels = labels[:, None] == np.arange(classes)
    order = np.argsort(-probabilities, axis=0, kind="stable")

    def of_class(draws: np.ndarray, number: int) -> np.ndarray:
        rows = order[:, number]
        sorted_scores = probabilities[rows, number]
        ends = np.append(np.flatnonzero(np.diff(sorted_scores)), len(rows) - 1)
        drawn = draws[:, rows]
        reached = np.cumsum(drawn, axis=1)[:, ends]
        hit = np.cumsum(drawn * labels[rows, number], axis=1)[:, ends]
        gained = np.diff(hit, axis=1, prepend=0)
        summed = (gained * (hit / np.maximum(reached, 1))).sum(axis=1)
        total = hit[:, -1]
        return np.where(total > 0, summed / np.maximum(total, 1), np.nan)

    def compute(draws: np.ndarray) -> dict[str, np.ndarray]:
        of_each = np.stack([of_class(draws, i) for i in range(classes)], 1)
        known = ~np.isnan(of_each)
        total = np.where(known, of_each, 0.0).sum(axis=1)
        return {
            "average_precision_macro": np.divide(
                total,
                known.sum(axis=1),
                out=np.full(len(draws), np.nan),
                where=known.any(axis=1),
            )
        }

    return compute


def together(*statistics: Statistics) -> Statistics:
    """All metrics of several, on the same draws."""

    def compute(draws: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: values
            for part in statistics
            for name, values in part(draws).items()
        }

    return compute


def _macro(values: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Means over the classes that were drawn: [r, C] to [r]."""
    there = support > 0
    return (values * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
