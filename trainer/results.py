"""What one evaluation found: counts, scores and mistakes, kept in one file."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from input import files
from trainer import errors, scores
from trainer.calibration import Activation, Reliability
from trainer.ranking import Ranking

_FORMAT = 2
# A result of format 1 has no intervals, ranking, calibration and slices.
_READABLE = (1, 2)
_SMALL_SLICE = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Mistake:
    """One wrongly classified example.

    Attributes:
      image: uint8 [H, W, C], as the model saw it before augmentation and
        normalisation; C is 1 (grey), 3 (RGB) or 4 (RGBA).
      label: the true class, from 0; of multi-label data a list, those that
        the example has.
      predicted: the class with the largest logit, or those predicted.
      confidence: probability of `predicted`, in [0, 1]; of multi-label data
        the largest probability that was given to a wrong decision.
      name: the file the example came from; "" if unknown.
    """

    image: np.ndarray
    label: int | list[int]
    predicted: int | list[int]
    confidence: float
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class SliceResult:
    """The examples of a split that share a value, such as one camera's.

    Attributes:
      column: what they are told apart by, such as "camera".
      value: of theirs.
      examples: how many there are, at least 1.
      correct: how many of them are right: in all classes, where an example
        may have several.
      metrics: name to value, as of the whole split.
    """

    column: str
    value: str
    examples: int
    correct: int
    metrics: dict[str, float]

    @property
    def accuracy(self) -> float:
        """Share of the examples that are right."""
        return self.correct / self.examples

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return scores.wilson_interval(self.correct, self.examples)

    @property
    def small(self) -> bool:
        """Whether it has so few examples that little is known of it."""
        return self.examples < _SMALL_SLICE


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """One pass over a split, every example counted once.

    Attributes:
      split: name of the split, such as "test".
      step: training step of the weights that were evaluated.
      metrics: name to value, such as `loss` and `top_1_accuracy`.
      class_names: one name per class, C in all.
      confusion_matrix: int64 [C, C]; entry [t, p] counts the examples of
        class t that were predicted as p. Of multi-label data, int64
        [C, 2, 2]: such a matrix for each class, 1 being the examples that
        have it.
      mistakes: the most confident mistakes, most confident first.
      intervals: the 95 % intervals of some of the metrics.
      activation: what makes probabilities of logits; `temperature` of
        `metrics` is what logits are to be divided by before.
      reliability: accuracy by confidence.
      scaled: the same with the temperature.
      ranking: ROC and precision-recall of each class.
      slices: the parts of the split, those of a column together.

    Raises:
      ValueError: the matrix is not [C, C] or [C, 2, 2] for C class names.
    """

    split: str
    step: int
    metrics: dict[str, float]
    class_names: tuple[str, ...]
    confusion_matrix: np.ndarray
    mistakes: tuple[Mistake, ...] = ()
    intervals: dict[str, tuple[float, float]] = dataclasses.field(
        default_factory=dict
    )
    activation: Activation = "softmax"
    reliability: Reliability | None = None
    scaled: Reliability | None = None
    ranking: Ranking | None = None
    slices: tuple[SliceResult, ...] = ()

    def __post_init__(self) -> None:
        """Checks that names and matrix speak of the same classes."""
        classes = len(self.class_names)
        shape = self.confusion_matrix.shape
        if shape not in ((classes, classes), (classes, 2, 2)):
            raise ValueError(
                f"confusion_matrix has shape {shape}, but there are {classes} "
                f"class_names: it must be [{classes}, {classes}], rows true "
                f"and columns predicted, or [{classes}, 2, 2]."
            )

    @property
    def multi_label(self) -> bool:
        """Whether an example may have several classes, or none."""
        return self.confusion_matrix.ndim == 3

    @property
    def examples(self) -> int:
        """Number of examples evaluated."""
        if self.multi_label:
            return int(self.confusion_matrix[:1].sum())
        return int(self.confusion_matrix.sum())

    @property
    def correct(self) -> int:
        """Number of examples that are right: of multi-label data, in all."""
        if self.multi_label:
            return round(self.metrics["subset_accuracy"] * self.examples)
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
                    "label": m.label,
                    "predicted": m.predicted,
                    "confidence": float(m.confidence),
                    "name": m.name,
                }
                for m in self.mistakes
            ],
            "intervals": {k: list(v) for k, v in self.intervals.items()},
            "activation": self.activation,
            "slices": [dataclasses.asdict(part) for part in self.slices],
        }
        encoded = json.dumps(header).encode("ascii")
        arrays: dict[str, Any] = {
            f"image_{i}": m.image for i, m in enumerate(self.mistakes)
        }
        for name in _PARTS:
            part = getattr(self, name)
            if part is not None:
                for field in dataclasses.fields(part):
                    arrays[f"{name}/{field.name}"] = getattr(part, field.name)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.frombuffer(encoded, np.uint8),
            confusion_matrix=self.confusion_matrix.astype(np.int64),
            **arrays,
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
                if header["format"] not in _READABLE:
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
                    **_of_format_2(header, arrays),
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


# Parts of a result that are arrays, each of a name of its own.
_PARTS: dict[str, type[Reliability] | type[Ranking]] = {
    "reliability": Reliability,
    "scaled": Reliability,
    "ranking": Ranking,
}


def _of_format_2(
    header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Reads the fields of a result that format 1 has not."""
    if header["format"] == 1:
        return {}
    return {
        "intervals": {
            name: (low, high)
            for name, (low, high) in header["intervals"].items()
        },
        "activation": header["activation"],
        "slices": tuple(SliceResult(**part) for part in header["slices"]),
    } | {
        name: kind(
            **{
                field.name: arrays[f"{name}/{field.name}"]
                for field in dataclasses.fields(kind)
            }
        )
        for name, kind in _PARTS.items()
        if f"{name}/{dataclasses.fields(kind)[0].name}" in arrays
    }


def step_of(path: str) -> int:
    """Returns the step of a saved result; -1 where none can be read."""
    try:
        return EvaluationResult.load(path).step
    except (FileNotFoundError, ValueError):
        return -1


def accuracy(result: EvaluationResult) -> str:
    """Returns the figure that stands for a result: top-1 accuracy 97.50 %.

    Of multi-label data that is the mean average precision.
    """
    if not result.multi_label:
        share = result.metrics["top_1_accuracy"]
        return f"top-1 accuracy {100 * share:.2f} %"
    precision = result.metrics["average_precision_macro"]
    share = result.metrics["subset_accuracy"]
    return f"mAP {100 * precision:.2f} %, all classes right {100 * share:.2f} %"


def describe(result: EvaluationResult) -> str:
    """Returns a result in one line."""
    return (
        f"{accuracy(result)}, loss {result.metrics['loss']:.4f}, "
        f"{result.examples:,} examples"
    )
