"""Scores against known values, and results that survive the disk."""

import math
import os

import numpy as np
import pytest
from sklearn import metrics

from input import files
from trainer import results
from trainer.results import EvaluationResult, Mistake

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


def make_result(**changes):
    rng = np.random.default_rng(0)
    fields = {
        "split": "test",
        "step": 1200,
        "metrics": {"loss": 0.1 + 0.2, "top_1_accuracy": math.nan},
        "class_names": ("a", "猫", "", "<b>", "nul\0"),
        "confusion_matrix": MATRIX,
        "mistakes": (
            Mistake(
                rng.integers(0, 255, (8, 8, 1), np.uint8), 0, 2, 0.99, "a/1.png"
            ),
            Mistake(
                rng.integers(0, 255, (5, 7, 3), np.uint8),
                3,
                0,
                0.5,
                "\udcff.jpg",
            ),
        ),
    }
    return EvaluationResult(**(fields | changes))


def examples_of(matrix):
    """True and predicted labels that give this confusion matrix."""
    labels, predicted = np.nonzero(matrix)
    counts = matrix[labels, predicted]
    return np.repeat(labels, counts), np.repeat(predicted, counts)


def test_what_is_saved_is_loaded_again(tmp_path):
    path = str(tmp_path / "evaluation" / "test.npz")
    saved = make_result()
    saved.save(path)
    loaded = EvaluationResult.load(path)
    assert (loaded.split, loaded.step) == ("test", 1200)
    assert loaded.class_names == saved.class_names
    assert loaded.metrics["loss"] == 0.1 + 0.2
    assert math.isnan(loaded.metrics["top_1_accuracy"])
    assert loaded.confusion_matrix.dtype == np.int64
    np.testing.assert_array_equal(loaded.confusion_matrix, MATRIX)
    assert len(loaded.mistakes) == 2
    for ours, theirs in zip(saved.mistakes, loaded.mistakes, strict=True):
        assert theirs.image.dtype == np.uint8
        np.testing.assert_array_equal(ours.image, theirs.image)
        for field in ("label", "predicted", "confidence", "name"):
            assert getattr(ours, field) == getattr(theirs, field)
    assert os.listdir(tmp_path / "evaluation") == ["test.npz"]


def test_file_holds_no_pickles(tmp_path):
    path = str(tmp_path / "test.npz")
    make_result().save(path)
    with np.load(path, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_examples_and_correct():
    result = make_result()
    assert (result.examples, result.correct) == (21, 14)


def test_matrix_must_fit_the_class_names():
    with pytest.raises(ValueError, match=r"\(5, 5\).*2 class_names.*\[2, 2\]"):
        make_result(class_names=("a", "b"))


@pytest.mark.parametrize("kept", [0, 10, 200, -30])
def test_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "test.npz"
    make_result().save(str(path))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="test.npz is not a readable"):
        EvaluationResult.load(str(path))


def test_foreign_npz_is_named(tmp_path):
    path = str(tmp_path / "test.npz")
    np.savez(path, something=np.zeros(3))
    with pytest.raises(ValueError, match="test.npz is not a readable"):
        EvaluationResult.load(path)


def test_missing_file():
    with pytest.raises(FileNotFoundError):
        EvaluationResult.load("/nowhere/test.npz")


def test_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    files.write_atomically(str(path), b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_scores_agree_with_scikit_learn():
    labels, predicted = examples_of(MATRIX)
    scores = results.class_scores(MATRIX)
    expected = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=0
    )
    for ours, theirs in zip(scores, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)


def test_scores_of_a_large_random_matrix_agree_with_scikit_learn():
    matrix = np.random.default_rng(1).integers(0, 9, (50, 50))
    labels, predicted = examples_of(matrix)
    scores = results.class_scores(matrix)
    for average, ours in (
        (None, scores[:3]),
        ("macro", results.macro_average(scores)),
    ):
        theirs = metrics.precision_recall_fscore_support(
            labels, predicted, average=average
        )
        np.testing.assert_allclose(ours, theirs[:3], rtol=1e-13)


def test_a_score_without_denominator_is_zero():
    scores = results.class_scores(MATRIX)
    assert scores.recall[2] == 0 and scores.support[2] == 0
    assert scores.precision[3] == 0
    assert scores.f1[4] == 0
    assert scores.support.dtype == np.int64


def test_macro_average_leaves_out_classes_without_examples():
    labels, predicted = examples_of(MATRIX)
    expected = metrics.precision_recall_fscore_support(
        labels, predicted, labels=[0, 1, 3], average="macro", zero_division=0
    )[:3]
    ours = results.macro_average(results.class_scores(MATRIX))
    np.testing.assert_allclose(ours, expected, rtol=1e-15)


def test_macro_average_of_nothing_is_zero():
    scores = results.class_scores(np.zeros((3, 3), np.int64))
    assert results.macro_average(scores) == (0, 0, 0)


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
    assert results.most_confused(MATRIX, limit) == expected
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
    ours = results.wilson_interval(correct, examples)
    np.testing.assert_allclose(ours, expected, atol=5e-5)


def test_ends_of_the_wilson_interval_solve_its_equation():
    # At each end, the observed share lies z standard errors away.
    for end in results.wilson_interval(356, 360):
        error = math.sqrt(end * (1 - end) / 360)
        assert abs(356 / 360 - end) / error == pytest.approx(1.959964)


@pytest.mark.parametrize(("correct", "examples"), [(-1, 5), (6, 5)])
def test_wilson_interval_needs_a_proportion(correct, examples):
    with pytest.raises(ValueError, match=f"correct is {correct} of {examples}"):
        results.wilson_interval(correct, examples)


def test_balanced_accuracy_is_the_mean_recall() -> None:
    matrix = np.array([[90, 10, 0], [2, 2, 0], [0, 0, 0]])
    assert results.balanced_accuracy(matrix) == pytest.approx((0.9 + 0.5) / 2)
