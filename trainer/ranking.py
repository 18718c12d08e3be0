"""How well scores put the examples of a class before the others.

ROC and precision-recall curves, their areas, exact: examples with the same
score are one step of a curve, in whole numbers up to the last division.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Where curves are kept: 0, 0.01, ..., 1.
GRID = np.linspace(0.0, 1.0, 101)


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """What the scores of each class are worth; NaN is what is not defined.

    Attributes:
      roc_auc: float64 [C], area under the ROC curve: the share of pairs, one
        of the class and one not, in which the former has the higher score;
        equal ones count a half. Needs both kinds. Source: Hanley and McNeil,
        "The meaning and use of the area under a ROC curve", 1982.
      average_precision: float64 [C], precision averaged over the recall
        gained, without interpolation. Needs an example of the class.
      roc: float64 [C, 101], true positive rate at the false positive rates
        of `GRID`.
      precision: float64 [C, 101], precision at the recalls of `GRID`.
    """

    roc_auc: np.ndarray
    average_precision: np.ndarray
    roc: np.ndarray
    precision: np.ndarray

    @property
    def macro_roc_auc(self) -> float:
        """Mean over the classes for which it is defined; NaN if none is."""
        return _mean(self.roc_auc)

    @property
    def macro_average_precision(self) -> float:
        """The same of the average precision, known as mAP."""
        return _mean(self.average_precision)


def rank_classes(labels: np.ndarray, scores: np.ndarray) -> Ranking:
    """Each class against the rest.

    Args:
      labels: integers [n], the class of each example; or bool [n, C], whether
        it has each class.
      scores: float [n, C]; more is surer. Where one of a class is NaN,
        nothing is known of the class.
    """
    classes = scores.shape[1]
    areas = np.full([2, classes], np.nan)
    curves = np.full([2, classes, len(GRID)], np.nan)
    for number in range(classes):
        of_class = np.ascontiguousarray(scores[:, number])
        if np.isnan(of_class).any():
            continue
        hits = labels[:, number] if labels.ndim == 2 else labels == number
        hit, missed = cumulate(hits, of_class)
        areas[:, number] = roc_auc(hit, missed), average_precision(hit, missed)
        curves[:, number] = roc_curve(hit, missed), pr_curve(hit, missed)
    return Ranking(areas[0], areas[1], curves[0], curves[1])


def cumulate(
    hits: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Counts what reaches each threshold, from the highest to the lowest.

    Args:
      hits: bool [n], whether an example is of the class.
      scores: float [n], none NaN.

    Returns:
      int64 [t] twice, t the different scores: examples of the class with at
      least this score, and others with it.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(scores) - 1)
    reached = np.cumsum(hits[order], dtype=np.int64)[ends]
    return reached, ends + 1 - reached


def roc_auc(hit: np.ndarray, missed: np.ndarray) -> float:
    """Area under the ROC curve of what `cumulate` gives, NaN if undefined."""
    pairs = int(hit[-1]) * int(missed[-1])
    if not pairs:
        return float("nan")
    # Twice the area of each trapezoid, as whole numbers.
    doubled = np.diff(missed, prepend=0) * (hit + np.append(0, hit[:-1]))
    return int(doubled.sum()) / (2 * pairs)


def average_precision(hit: np.ndarray, missed: np.ndarray) -> float:
    """Average precision of what `cumulate` gives, NaN if undefined."""
    if not hit[-1]:
        return float("nan")
    gained = np.diff(hit, prepend=0) / hit[-1]
    return float((gained * (hit / (hit + missed))).sum())


def roc_curve(hit: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """True positive rate at `GRID`, float64 [101]; NaN if undefined."""
    if not hit[-1] or not missed[-1]:
        return np.full(len(GRID), np.nan)
    return np.interp(
        GRID,
        np.append(0, missed / missed[-1]),
        np.append(0, hit / hit[-1]),
    )


def pr_curve(hit: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Precision where recall reaches `GRID`, float64 [101]; NaN if undefined.

    At recall 0 it is that of the highest score.
    """
    if not hit[-1]:
        return np.full(len(GRID), np.nan)
    # A recall of k of n is met by k, whatever the rounding of k / n.
    wanted = np.maximum(np.ceil(GRID * hit[-1] - 1e-9), 0)
    first = np.searchsorted(hit, wanted, side="left")
    return (hit / (hit + missed))[first]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
