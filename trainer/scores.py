"""From counts to scores: precision, recall, F1, confusions, intervals.

Plain NumPy, without a model. What needs the scores of each example is in
`trainer.ranking` (ROC, precision and recall) and `trainer.calibration`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal


class ClassScores(NamedTuple):
    """Scores of each class, from one confusion matrix.

    Attributes:
      precision: float64 [C], correct / predicted as the class.
      recall: float64 [C], correct / examples of the class.
      f1: float64 [C], harmonic mean of the two.
      support: int64 [C], examples of the class.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class Confusion(NamedTuple):
    """So many examples of class `label` were taken for `predicted`."""

    label: int
    predicted: int
    examples: int


class Average(NamedTuple):
    """One precision, recall and F1 for all classes together."""

    precision: float
    recall: float
    f1: float


def class_scores(confusion_matrix: np.ndarray) -> ClassScores:
    """Precision, recall, F1 and support of each class.

    A score whose denominator is zero is 0: the precision of a class that was
    never predicted, the recall of a class without examples, and the F1 of a
    class that is neither.

    Args:
      confusion_matrix: integers [C, C], rows true and columns predicted. Of
        multi-label data, integers [C, 2, 2]: one such matrix for each class,
        0 for examples without it and 1 for those with it.
    """
    correct, predicted, support = outcomes(confusion_matrix)
    return scores_of(correct, predicted, support)


def outcomes(
    confusion_matrix: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each class was right, was predicted, and was there.

    Args:
      confusion_matrix: integers [C, C], or [C, 2, 2] of multi-label data.

    Returns:
      Three integer arrays [C].
    """
    if confusion_matrix.ndim == 3:
        return (
            confusion_matrix[:, 1, 1],
            confusion_matrix[:, :, 1].sum(axis=1),
            confusion_matrix[:, 1].sum(axis=1),
        )
    return (
        np.diagonal(confusion_matrix),
        confusion_matrix.sum(axis=0),
        confusion_matrix.sum(axis=1),
    )


def scores_of(
    correct: np.ndarray, predicted: np.ndarray, support: np.ndarray
) -> ClassScores:
    """The same from the counts of each class, integers [..., C] all."""
    return ClassScores(
        precision=_ratio(correct, predicted),
        recall=_ratio(correct, support),
        f1=_ratio(2 * correct, support + predicted),
        support=support.astype(np.int64),
    )


def macro_average(scores: ClassScores) -> Average:
    """Unweighted means of precision, recall and F1.

    Classes without examples are left out: nothing is known of them, and a
    0 would pull the mean down. All three are 0 if no class has examples.
    """
    return _weighted(scores, scores.support > 0)


def weighted_average(scores: ClassScores) -> Average:
    """Means of precision, recall and F1, weighted by the examples."""
    return _weighted(scores, scores.support)


def micro_average(confusion_matrix: np.ndarray) -> Average:
    """Precision, recall and F1 of all classes' decisions in one pot.

    Where each example has one class, all three are the accuracy.

    Args:
      confusion_matrix: integers [C, C], or [C, 2, 2] of multi-label data.
    """
    correct, predicted, support = (
        counts.sum(keepdims=True) for counts in outcomes(confusion_matrix)
    )
    scores = scores_of(correct, predicted, support)
    return Average(
        *(float(v[0]) for v in (scores.precision, scores.recall, scores.f1))
    )


def balanced_accuracy(confusion_matrix: np.ndarray) -> float:
    """Mean recall of the classes that have examples, in [0, 1].

    Args:
      confusion_matrix: integers [C, C], rows true and columns predicted.
    """
    return macro_average(class_scores(confusion_matrix)).recall


def most_confused(confusion_matrix: np.ndarray, limit: int) -> list[Confusion]:
    """The largest counts off the diagonal, largest first.

    Args:
      confusion_matrix: integers [C, C], rows true and columns predicted.
      limit: how many at most; pairs that never happened are left out. Equal
        counts come in order of true, then predicted class.
    """
    wrong = confusion_matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    labels, predictions = np.unravel_index(order, wrong.shape)
    return [
        Confusion(int(label), int(predicted), int(wrong[label, predicted]))
        for label, predicted in zip(labels, predictions, strict=True)
        if wrong[label, predicted] > 0
    ]


def wilson_interval(
    correct: int, examples: int, z: float = _Z_95
) -> tuple[float, float]:
    """Confidence interval of a proportion, good near 0 and 1 too.

    Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 22 (1927).

    Args:
      correct: successes, in [0, examples].
      examples: trials; with none, nothing is known and it is (0, 1).
      z: quantile of the normal distribution; the default gives 95 %.

    Returns:
      Lower and upper end, each in [0, 1].

    Raises:
      ValueError: `correct` is not in [0, examples].
    """
    if not 0 <= correct <= examples:
        raise ValueError(
            f"correct is {correct} of {examples} examples: it must lie "
            "between 0 and examples."
        )
    if examples == 0:
        return 0.0, 1.0
    share = correct / examples
    shrink = 1 + z * z / examples
    centre = (share + z * z / (2 * examples)) / shrink
    spread = share * (1 - share) / examples + (z / (2 * examples)) ** 2
    half = z * math.sqrt(spread) / shrink
    # At 0 and at all, rounding would leave the end a hair beside 0 or 1.
    low = 0.0 if correct == 0 else centre - half
    high = 1.0 if correct == examples else centre + half
    return low, high


def _weighted(scores: ClassScores, weights: np.ndarray) -> Average:
    if not weights.any():
        return Average(0.0, 0.0, 0.0)
    share = weights / weights.sum()
    return Average(
        *(
            float((values * share).sum())
            for values in (scores.precision, scores.recall, scores.f1)
        )
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise float64 quotient, 0 where the denominator is 0."""
    result = np.zeros(numerator.shape, np.float64)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
