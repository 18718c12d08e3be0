"""Areas and curves against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from trainer import ranking


def make(ties: bool, examples: int = 200, classes: int = 5):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, classes, examples)
    scores = rng.random((examples, classes)).astype(np.float32)
    scores[np.arange(examples), labels] += 0.3
    # With two digits, most scores are there more than once.
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_each_class_agrees_with_scikit_learn(ties: bool) -> None:
    labels, scores = make(ties)
    found = ranking.rank_classes(labels, scores)
    for number in range(5):
        hits, own = labels == number, scores[:, number]
        assert found.roc_auc[number] == pytest.approx(
            metrics.roc_auc_score(hits, own), rel=1e-12
        )
        assert found.average_precision[number] == pytest.approx(
            metrics.average_precision_score(hits, own), rel=1e-12
        )
    hot = labels[:, None] == np.arange(5)
    assert found.macro_roc_auc == pytest.approx(
        metrics.roc_auc_score(hot, scores, average="macro"), rel=1e-12
    )
    assert found.macro_average_precision == pytest.approx(
        metrics.average_precision_score(hot, scores, average="macro"),
        rel=1e-12,
    )


def test_label_sets_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    hot, scores = rng.random((60, 4)) < 0.3, rng.random((60, 4))
    found = ranking.rank_classes(hot, scores.astype(np.float32))
    np.testing.assert_allclose(
        found.average_precision,
        metrics.average_precision_score(hot, scores, average=None),
    )
    np.testing.assert_allclose(
        found.roc_auc, metrics.roc_auc_score(hot, scores, average=None)
    )


@pytest.mark.parametrize("ties", [False, True])
def test_curves_agree_with_scikit_learn(ties: bool) -> None:
    labels, scores = make(ties)
    found = ranking.rank_classes(labels, scores)
    hits, own = labels == 2, scores[:, 2]
    false_rate, true_rate, _ = metrics.roc_curve(
        hits, own, drop_intermediate=False
    )
    expected = np.interp(ranking.GRID, false_rate, true_rate)
    np.testing.assert_allclose(found.roc[2], expected, rtol=1e-12)
    # From the highest score on; its last point is not one of the data.
    precision, recall, _ = metrics.precision_recall_curve(hits, own)
    precision, recall = precision[-2::-1], recall[-2::-1]
    for wanted, ours in zip(ranking.GRID, found.precision[2], strict=True):
        first = int(np.argmax(recall >= wanted - 1e-12))
        assert ours == pytest.approx(precision[first])


def test_what_is_not_defined_is_nan() -> None:
    """A class that nobody has, and one that everybody has."""
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    hot = np.array([[False, True], [False, True]])
    found = ranking.rank_classes(hot, scores)
    assert np.isnan(found.roc_auc).all() and np.isnan(found.roc).all()
    assert np.isnan(found.average_precision[0])
    assert found.average_precision[1] == 1.0
    assert found.macro_average_precision == 1.0
    assert np.isnan(found.macro_roc_auc)


def test_scores_that_are_no_numbers_say_nothing() -> None:
    scores = np.array([[np.nan, 0.1], [0.2, 0.8]])
    found = ranking.rank_classes(np.array([0, 1]), scores)
    assert np.isnan(found.roc_auc[0])
    assert found.roc_auc[1] == 1.0


def test_equal_scores_are_a_coin() -> None:
    found = ranking.rank_classes(np.array([0, 1, 1]), np.full((3, 2), 0.5))
    np.testing.assert_array_equal(found.roc_auc, [0.5, 0.5])
    np.testing.assert_allclose(found.average_precision, [1 / 3, 2 / 3])
