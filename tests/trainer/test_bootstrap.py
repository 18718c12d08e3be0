"""Bootstrap intervals: against theory, and against drawing one by one."""

import numpy as np
import pytest
from sklearn import metrics

from trainer import bootstrap, scores


def test_a_mean_has_the_interval_of_theory() -> None:
    right = np.arange(1000) < 700
    found = bootstrap.intervals(
        1000, bootstrap.means({"accuracy": right}), 4000
    )
    low, high = found["accuracy"]
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert low == pytest.approx(0.7 - half, abs=0.004)
    assert high == pytest.approx(0.7 + half, abs=0.004)


def test_the_same_seed_draws_the_same(monkeypatch) -> None:
    """However many resamples are drawn at once."""
    values = bootstrap.means({"x": np.random.default_rng(0).random(50)})
    first = bootstrap.intervals(50, values, 100)
    assert bootstrap.intervals(50, values, 100) == first
    assert bootstrap.intervals(50, values, 100, seed=1) != first
    monkeypatch.setattr(bootstrap, "_CHUNK", 350)
    assert bootstrap.intervals(50, values, 100)["x"] == pytest.approx(
        first["x"], rel=1e-12
    )


def draws(examples: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    drawn = rng.integers(examples, size=(7, examples))
    return np.stack([np.bincount(d, minlength=examples) for d in drawn])


def repeated(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_scores_of_classes_are_those_of_repeated_examples() -> None:
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 3, (2, 30))
    # A class of one example, which some draws have not.
    labels[4] = 3
    found = bootstrap.of_classes(labels, predicted, 4)(draws(30))
    for i, counts in enumerate(draws(30)):
        rows = repeated(counts)
        matrix = metrics.confusion_matrix(
            labels[rows], predicted[rows], labels=range(4)
        )
        expected = scores.macro_average(scores.class_scores(matrix))
        assert found["f1_macro"][i] == pytest.approx(expected.f1)
        assert found["balanced_accuracy"][i] == pytest.approx(expected.recall)


def test_label_sets_are_those_of_repeated_examples() -> None:
    rng = np.random.default_rng(1)
    labels, predicted = rng.random((2, 30, 3)) < 0.5
    probabilities = np.round(rng.random((30, 3)), 1)
    compute = bootstrap.together(
        bootstrap.of_classes(labels, predicted, 3),
        bootstrap.mean_average_precision(labels, probabilities),
    )
    found = compute(draws(30))
    for i, counts in enumerate(draws(30)):
        rows = repeated(counts)
        for average in ("macro", "micro"):
            assert found[f"f1_{average}"][i] == pytest.approx(
                metrics.f1_score(labels[rows], predicted[rows], average=average)
            )
        assert found["average_precision_macro"][i] == pytest.approx(
            metrics.average_precision_score(labels[rows], probabilities[rows])
        )
