"""Classes, confusions and mistakes, ready for the template."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer import scores as scores_lib
from trainer.results import EvaluationResult, Mistake
from trainer.scores import ClassScores

_ANNOTATED = 20  # up to so many classes, the matrix is a table of numbers
_DRAWN = 200  # up to so many, it is a heat map
_NAMED = 50  # up to so many, the heat map bears the names of the classes
_SHOWN = 25  # rows of a longer table that are seen without unfolding
_MISTAKES = 24
_SMALL_PICTURE = 64  # pixels; up to this side, pixels are shown as squares
_LARGEST_PICTURE = 128  # pixels; larger pictures are reduced to this side
_MATRIX_SIDE = 560.0  # units of the heat map, without its labels
_CORRECT, _WRONG = (58, 118, 196), (214, 72, 44)  # legible on light and dark


class Cell(NamedTuple):
    """A cell of the annotated matrix; `shade` in [0, 1] is its colour."""

    examples: int
    share: float
    shade: float
    correct: bool


class Label(NamedTuple):
    """A label of the heat map at `at` units from its corner."""

    at: float
    text: str


class HeatMap(NamedTuple):
    """The matrix as a picture: PNG data URI, side and margin in units."""

    uri: str
    side: float
    margin: float
    labels: Sequence[Label]


class ClassRow(NamedTuple):
    """The scores of one class; `weak` marks the worst ones."""

    number: int
    name: str
    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float
    roc_auc: float
    weak: bool


class ConfusedRow(NamedTuple):
    """A confused pair; `share` is of the examples of class `label`."""

    label: str
    predicted: str
    examples: int
    share: float


class MistakeView(NamedTuple):
    """A mistake with its picture as a PNG data URI."""

    uri: str
    pixelated: bool
    label: str
    predicted: str
    confidence: float
    name: str


class SplitCounts(NamedTuple):
    """How the examples of a split spread over the classes."""

    split: str
    counts: Sequence[int]
    total: int
    smallest: int
    median: float
    largest: int
    empty: int


def matrix_cells(result: EvaluationResult) -> list[list[Cell]]:
    """Rows of the annotated matrix, none if there are too many classes."""
    if result.multi_label or len(result.class_names) > _ANNOTATED:
        return []
    shares = _row_shares(result.confusion_matrix)
    return [
        [
            Cell(int(n), float(share), float(share) ** 0.5, row == col)
            for col, (n, share) in enumerate(zip(ns, row_shares, strict=True))
        ]
        for row, (ns, row_shares) in enumerate(
            zip(result.confusion_matrix, shares, strict=True)
        )
    ]


def heat_map(result: EvaluationResult) -> HeatMap | None:
    """The matrix as a picture, between 21 and 200 classes."""
    classes = len(result.class_names)
    if result.multi_label or not _ANNOTATED < classes <= _DRAWN:
        return None
    # The square root keeps an error of 1 % visible beside a class of 99 %;
    # opacity rather than a colour scale serves light and dark pages alike.
    opacity = np.sqrt(_row_shares(result.confusion_matrix))
    picture = np.empty((classes, classes, 4), np.uint8)
    picture[..., :3] = _WRONG
    picture[range(classes), range(classes), :3] = _CORRECT
    picture[..., 3] = np.round(255 * opacity)
    cell = _MATRIX_SIDE / classes
    named = not are_numbered(result)
    step = 1 if named else 10 if classes <= 100 else 20
    labels = [
        Label(
            (index + 0.5) * cell,
            shorten(result.class_names[index], 20) if named else str(index),
        )
        for index in range(0, classes, step)
    ]
    return HeatMap(
        png_uri(picture), _MATRIX_SIDE, 140.0 if named else 44.0, labels
    )


def are_numbered(result: EvaluationResult) -> bool:
    """Whether the heat map bears numbers, so that the table must too."""
    return len(result.class_names) > _NAMED


def class_rows(result: EvaluationResult, scores: ClassScores) -> list[ClassRow]:
    """All classes, lowest F1 first; those without examples come last.

    At most a tenth of the classes, but one and no more than five, are
    marked as weak, provided that they are not perfect.
    """
    empty = scores.support == 0
    order = np.lexsort((scores.f1, empty))
    unknown = np.full(len(order), np.nan)
    ranked = result.ranking
    precision = unknown if ranked is None else ranked.average_precision
    area = unknown if ranked is None else ranked.roc_auc
    weakest = min(5, max(1, len(order) // 10))
    return [
        ClassRow(
            number=int(i),
            name=result.class_names[i],
            support=int(scores.support[i]),
            precision=float(scores.precision[i]),
            recall=float(scores.recall[i]),
            f1=float(scores.f1[i]),
            average_precision=float(precision[i]),
            roc_auc=float(area[i]),
            weak=bool(rank < weakest and scores.f1[i] < 1 and not empty[i]),
        )
        for rank, i in enumerate(order)
    ]


def confused_rows(result: EvaluationResult) -> list[ConfusedRow]:
    """The most confused pairs: 10, or 20 where there is no matrix."""
    if result.multi_label:
        return []
    names = result.class_names
    support = result.confusion_matrix.sum(axis=1)
    limit = 10 if len(names) <= _DRAWN else 20
    return [
        ConfusedRow(
            names[pair.label],
            names[pair.predicted],
            pair.examples,
            pair.examples / int(support[pair.label]),
        )
        for pair in scores_lib.most_confused(result.confusion_matrix, limit)
    ]


def mistake_views(result: EvaluationResult) -> list[MistakeView]:
    """The most confident mistakes, at most 24."""
    return [
        _mistake_view(mistake, result.class_names)
        for mistake in result.mistakes[:_MISTAKES]
    ]


def split_counts(facts: Mapping[str, Any]) -> list[SplitCounts]:
    """`label_counts` of run.json; none if it is missing."""
    return [
        SplitCounts(
            split=str(split),
            counts=counts,
            total=sum(counts),
            smallest=min(counts),
            median=float(np.median(counts)),
            largest=max(counts),
            empty=sum(n == 0 for n in counts),
        )
        for split, counts in (facts.get("label_counts") or {}).items()
        if counts
    ]


def class_names(
    facts: Mapping[str, Any], result: EvaluationResult | None, classes: int
) -> Sequence[str]:
    """Names for `classes` classes; their numbers if none are known."""
    known = facts.get("class_names") or (result.class_names if result else ())
    if len(known) != classes:
        return [str(index) for index in range(classes)]
    return [str(name) for name in known]


def fold(rows: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Splits the rows of a table into those shown and those folded away."""
    # A fold that hides a row or two is more trouble than the rows are.
    shown = len(rows) if len(rows) <= 2 * _SHOWN else _SHOWN
    return rows[:shown], rows[shown:]


def shorten(name: str, most: int) -> str:
    """At most `most` characters, with an ellipsis for what is left out."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def png_uri(image: np.ndarray) -> str:
    """A data URI of uint8 [H, W, C] pixels, C from 1 to 4."""
    encoded = tf.io.encode_png(image).numpy()
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"


def label_text(label: int | Sequence[int], names: Sequence[str]) -> str:
    """The name of a class, or of all that an example has: cat, dog."""
    if isinstance(label, int):
        return names[label]
    return ", ".join(names[i] for i in label) or "none"


def _row_shares(matrix: np.ndarray) -> np.ndarray:
    """Rows divided by their sums, float64 [C, C]; empty rows stay 0."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def _mistake_view(mistake: Mistake, names: Sequence[str]) -> MistakeView:
    image = mistake.image
    side = max(image.shape[:2])
    if side > _LARGEST_PICTURE:
        size = [
            max(1, round(length * _LARGEST_PICTURE / side))
            for length in image.shape[:2]
        ]
        reduced = tf.image.resize(image, size, method="area")
        image = np.round(reduced.numpy()).astype(np.uint8)
    return MistakeView(
        uri=png_uri(image),
        pixelated=side <= _SMALL_PICTURE,
        label=label_text(mistake.label, names),
        predicted=label_text(mistake.predicted, names),
        confidence=mistake.confidence,
        name=mistake.name,
    )
