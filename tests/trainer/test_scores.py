"""Scores from counts, against scikit-learn and published tables."""

import math

import numpy as np
import pytest
from sklearn import metrics

from trainer import scores

# Class 2 has no examples, class 3 is never predicted, class 4 is neither.
MATRIX = np.array(
    [
        [8, 1, 2, 0, 0],
        [0, 6, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [3, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ],
    np.int64,
)


def examples_of(matrix):
    """True and predicted labels that give this confusion matrix."""
    labels, predicted = np.nonzero(matrix)
    counts = matrix[labels, predicted]
    return np.repeat(labels, counts), np.repeat(predicted, counts)


def test_scores_agree_with_scikit_learn():
    labels, predicted = examples_of(MATRIX)
    of_class = scores.class_scores(MATRIX)
    expected = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=0
    )
    for ours, theirs in zip(of_class, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)


def test_scores_of_a_large_random_matrix_agree_with_scikit_learn():
    matrix = np.random.default_rng(1).integers(0, 9, (50, 50))
    labels, predicted = examples_of(matrix)
    of_class = scores.class_scores(matrix)
    for average, ours in (
        (None, of_class[:3]),
        ("macro", scores.macro_average(of_class)),
    ):
        theirs = metrics.precision_recall_fscore_support(
            labels, predicted, average=average
        )
        np.testing.assert_allclose(ours, theirs[:3], rtol=1e-13)


def test_a_score_without_denominator_is_zero():
    of_class = scores.class_scores(MATRIX)
    assert of_class.recall[2] == 0 and of_class.support[2] == 0
    assert of_class.precision[3] == 0
    assert of_class.f1[4] == 0
    assert of_class.support.dtype == np.int64


def test_macro_average_leaves_out_classes_without_examples():
    labels, predicted = examples_of(MATRIX)
    expected = metrics.precision_recall_fscore_support(
        labels, predicted, labels=[0, 1, 3], average="macro", zero_division=0
    )[:3]
    ours = scores.macro_average(scores.class_scores(MATRIX))
    np.testing.assert_allclose(ours, expected, rtol=1e-15)


def test_macro_average_of_nothing_is_zero():
    of_class = scores.class_scores(np.zeros((3, 3), np.int64))
    assert scores.macro_average(of_class) == (0, 0, 0)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, []),
        (2, [(3, 0, 3), (0, 2, 2)]),
        (9, [(3, 0, 3), (0, 2, 2), (0, 1, 1), (3, 2, 1)]),
        (99, [(3, 0, 3), (0, 2, 2), (0, 1, 1), (3, 2, 1)]),
    ],
)
def test_most_confused(limit, expected):
    before = MATRIX.copy()
    assert scores.most_confused(MATRIX, limit) == expected
    np.testing.assert_array_equal(MATRIX, before)


@pytest.mark.parametrize(
    ("correct", "examples", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        # At the ends it is z^2 / (n + z^2) wide.
        (0, 10, (0.0, 0.27753)),
        (10, 10, (0.72247, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_interval(correct, examples, expected):
    ours = scores.wilson_interval(correct, examples)
    np.testing.assert_allclose(ours, expected, atol=5e-5)


def test_ends_of_the_wilson_interval_solve_its_equation():
    # At each end, the observed share lies z standard errors away.
    for end in scores.wilson_interval(356, 360):
        error = math.sqrt(end * (1 - end) / 360)
        assert abs(356 / 360 - end) / error == pytest.approx(1.959964)


@pytest.mark.parametrize(("correct", "examples"), [(-1, 5), (6, 5)])
def test_wilson_interval_needs_a_proportion(correct, examples):
    with pytest.raises(ValueError, match=f"correct is {correct} of {examples}"):
        scores.wilson_interval(correct, examples)


def test_balanced_accuracy_is_the_mean_recall() -> None:
    matrix = np.array([[90, 10, 0], [2, 2, 0], [0, 0, 0]])
    expected = pytest.approx((0.9 + 0.5) / 2)
    assert scores.balanced_accuracy(matrix) == expected
