"""What one evaluation found: counts, scores and mistakes, kept in one file."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from typing import Any, NamedTuple

import numpy as np

from input import files
from trainer import errors

_FORMAT = 1
_Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal


@dataclasses.dataclass(frozen=True, eq=False)
class Mistake:
    """One wrongly classified example.

    Attributes:
      image: uint8 [H, W, C], as the model saw it before augmentation and
        normalisation; C is 1 (grey), 3 (RGB) or 4 (RGBA).
      label: the true class, from 0.
      predicted: the class with the largest logit, from 0.
      confidence: softmax probability of `predicted`, in [0, 1].
      name: the file the example came from; "" if unknown.
    """

    image: np.ndarray
    label: int
    predicted: int
    confidence: float
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """One pass over a split, every example counted once.

    Attributes:
      split: name of the split, such as "test".
      step: training step of the weights that were evaluated.
      metrics: name to value, such as `loss` and `top_1_accuracy`.
      class_names: one name per class, C in all.
      confusion_matrix: int64 [C, C]; entry [t, p] counts the examples of
        class t that were predicted as p.
      mistakes: the most confident mistakes, most confident first.

    Raises:
      ValueError: the matrix is not [C, C] for C class names.
    """

    split: str
    step: int
    metrics: dict[str, float]
    class_names: tuple[str, ...]
    confusion_matrix: np.ndarray
    mistakes: tuple[Mistake, ...] = ()

    def __post_init__(self) -> None:
        """Checks that names and matrix speak of the same classes."""
        classes = len(self.class_names)
        if self.confusion_matrix.shape != (classes, classes):
            raise ValueError(
                f"confusion_matrix has shape {self.confusion_matrix.shape}, "
                f"but there are {classes} class_names: it must be "
                f"[{classes}, {classes}], rows true and columns predicted."
            )

    @property
    def examples(self) -> int:
        """Number of examples evaluated."""
        return int(self.confusion_matrix.sum())

    @property
    def correct(self) -> int:
        """Number of examples whose most likely class is the true one."""
        return int(np.trace(self.confusion_matrix))

    def save(self, path: str) -> None:
        """Writes everything to one `.npz` without pickles.

        The file appears under its name only when it is complete; missing
        folders are made.

        Args:
          path: local or remote (`gs://`) path, by custom
            `model_dir/evaluation/<split>.npz`.

        Raises:
          errors.OutputError: the disk fails.
        """
        header = {
            "format": _FORMAT,
            "split": self.split,
            "step": int(self.step),
            "metrics": {k: float(v) for k, v in self.metrics.items()},
            "class_names": list(self.class_names),
            "mistakes": [
                {
                    "label": int(m.label),
                    "predicted": int(m.predicted),
                    "confidence": float(m.confidence),
                    "name": m.name,
                }
                for m in self.mistakes
            ],
        }
        encoded = json.dumps(header).encode("ascii")
        images: dict[str, Any] = {
            f"image_{i}": m.image for i, m in enumerate(self.mistakes)
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.frombuffer(encoded, np.uint8),
            confusion_matrix=self.confusion_matrix.astype(np.int64),
            **images,
        )
        with errors.writing(path):
            files.write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str) -> EvaluationResult:
        """Reads what `save` wrote.

        Raises:
          ValueError: the file is truncated or not one of ours.
          FileNotFoundError: there is no such file.
        """
        content = files.read(path)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                header = json.loads(arrays["header"].tobytes())
                if header["format"] != _FORMAT:
                    raise ValueError(f"format {header['format']}")
                mistakes = tuple(
                    Mistake(image=arrays[f"image_{i}"], **fields)
                    for i, fields in enumerate(header["mistakes"])
                )
                return cls(
                    split=header["split"],
                    step=header["step"],
                    metrics=header["metrics"],
                    class_names=tuple(header["class_names"]),
                    confusion_matrix=arrays["confusion_matrix"],
                    mistakes=mistakes,
                )
        except (
            ValueError,  # not JSON, pickled, or names and matrix disagree
            KeyError,
            TypeError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(
                f"{path} is not a readable evaluation result ({error}). "
                f"It must be an .npz of format {_FORMAT} written by "
                "EvaluationResult.save; evaluate again to replace it."
            ) from error


def step_of(path: str) -> int:
    """Returns the step of a saved result; -1 where none can be read."""
    try:
        return EvaluationResult.load(path).step
    except (FileNotFoundError, ValueError):
        return -1


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


def class_scores(confusion_matrix: np.ndarray) -> ClassScores:
    """Precision, recall, F1 and support of each class.

    A score whose denominator is zero is 0: the precision of a class that was
    never predicted, the recall of a class without examples, and the F1 of a
    class that is neither.

    Args:
      confusion_matrix: integers [C, C], rows true and columns predicted.
    """
    correct = np.diagonal(confusion_matrix)
    support = confusion_matrix.sum(axis=1)
    predicted = confusion_matrix.sum(axis=0)
    return ClassScores(
        precision=_ratio(correct, predicted),
        recall=_ratio(correct, support),
        f1=_ratio(2 * correct, support + predicted),
        support=support.astype(np.int64),
    )


def macro_average(scores: ClassScores) -> tuple[float, float, float]:
    """Unweighted means of precision, recall and F1.

    Classes without examples are left out: nothing is known of them, and a
    0 would pull the mean down. All three are 0 if no class has examples.
    """
    present = scores.support > 0
    if not present.any():
        return 0.0, 0.0, 0.0
    precision, recall, f1 = (
        float(values[present].mean())
        for values in (scores.precision, scores.recall, scores.f1)
    )
    return precision, recall, f1


def balanced_accuracy(confusion_matrix: np.ndarray) -> float:
    """Mean recall of the classes that have examples, in [0, 1].

    Args:
      confusion_matrix: integers [C, C], rows true and columns predicted.
    """
    return macro_average(class_scores(confusion_matrix))[1]


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


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise float64 quotient, 0 where the denominator is 0."""
    result = np.zeros(numerator.shape, np.float64)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
