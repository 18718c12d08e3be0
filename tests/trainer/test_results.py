"""Scores against known values, and results that survive the disk."""

import math
import os

import numpy as np
import pytest

from input import files
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
