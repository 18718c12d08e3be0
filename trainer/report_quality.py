"""Metrics, calibration, curves and slices, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from trainer import report_text as text
from trainer.calibration import Reliability
from trainer.ranking import GRID
from trainer.report_plots import Curve, square, whisker
from trainer.report_run import number
from trainer.results import EvaluationResult, SliceResult

# So many classes have a pale line each beside their mean.
_MOST_LINES = 20

_LABELS = {
    "subset_accuracy": "All classes right (subset accuracy)",
    "hamming_loss": "Wrong classes (Hamming loss)",
    "balanced_accuracy": "Balanced accuracy",
    "average_precision_macro": "Average precision, mean of classes (mAP)",
    "roc_auc_macro": "ROC-AUC, mean of classes",
    "f1_macro": "F1, mean of classes",
    "f1_micro": "F1, all decisions (micro)",
    "f1_weighted": "F1, weighted by examples",
    "precision_macro": "Precision, mean of classes",
    "precision_micro": "Precision, all decisions (micro)",
    "precision_weighted": "Precision, weighted by examples",
    "recall_macro": "Recall, mean of classes",
    "recall_micro": "Recall, all decisions (micro)",
    "recall_weighted": "Recall, weighted by examples",
}
_COSTS = {
    "loss": "Loss",
    "nll": "Negative log likelihood",
    "brier_score": "Brier score",
}
# Where each example has one class, they are the accuracy once more.
_SAME = ("precision_micro", "recall_micro", "f1_micro", "recall_macro")


class MetricRow(NamedTuple):
    """A metric with its 95 % interval, "" where there is none."""

    name: str
    label: str
    value: str
    interval: str
    whisker: Markup


class SliceRow(NamedTuple):
    """A slice and its accuracy; `note` says what is special about it."""

    value: str
    examples: int
    accuracy: str
    interval: str
    whisker: Markup
    average_precision: str
    note: str


class SliceTable(NamedTuple):
    """The slices of a column, least accuracy first."""

    column: str
    gap: str
    rows: Sequence[SliceRow]


class Plot(NamedTuple):
    """A drawing; keys are its CSS color names and what they stand for."""

    title: str
    keys: Sequence[tuple[str, str]]
    svg: Markup


def metric_rows(result: EvaluationResult) -> list[MetricRow]:
    """The metrics that are known, shares first."""
    top = {
        name: f"Top-{name.split('_')[1]} accuracy"
        for name in result.metrics
        if name.startswith("top_") and name.endswith("_accuracy")
    }
    skipped = () if result.multi_label else _SAME
    rows = [
        _metric_row(result, name, label, share=True)
        for name, label in (top | _LABELS).items()
        if name not in skipped
    ]
    rows += [
        _metric_row(result, name, label, share=False)
        for name, label in _COSTS.items()
    ]
    return [row for row in rows if row is not None]


def _metric_row(
    result: EvaluationResult, name: str, label: str, share: bool
) -> MetricRow | None:
    value = number(result.metrics, name)
    if value is None:
        return None
    ends = _finite(result.intervals.get(name))
    if not share:
        shown = "–".join(map(text.number, ends)) if ends is not None else ""
        return MetricRow(name, label, text.number(value), shown, Markup(""))
    shown = ""
    if ends is not None:
        shown = text.percent_range(*ends, result.examples)
    return MetricRow(
        name,
        label,
        text.percent(value, result.examples),
        shown,
        whisker(value, ends),
    )


def plots(result: EvaluationResult) -> list[Plot]:
    """Reliability, ROC and precision-recall, as far as they are known."""
    found: list[Plot | None] = []
    if result.reliability is not None and result.reliability.counts.any():
        found.append(_reliability(result, result.reliability))
    if result.ranking is not None:
        found += [_roc(result), _precision_recall(result)]
    return [plot for plot in found if plot is not None]


def slice_tables(result: EvaluationResult) -> list[SliceTable]:
    """A table for each column."""
    columns: dict[str, list[SliceResult]] = {}
    for part in result.slices:
        columns.setdefault(part.column, []).append(part)
    tables = []
    for column, parts in columns.items():
        parts = sorted(parts, key=lambda p: p.accuracy)
        gap = parts[-1].accuracy - parts[0].accuracy
        tables.append(
            SliceTable(
                column,
                text.percent(gap, result.examples),
                [_slice_row(part, result) for part in parts],
            )
        )
    return tables


def calibration_note(result: EvaluationResult) -> str:
    """What the temperature does, in a sentence; "" if there is none."""
    temperature = number(result.metrics, "temperature")
    before = number(result.metrics, "expected_calibration_error")
    after = number(result.metrics, "expected_calibration_error_scaled")
    if before is None:
        return ""
    note = (
        "Expected calibration error "
        f"{text.percent(before, result.examples)}: how far confidence and "
        "accuracy are apart on average."
    )
    if temperature is None or after is None:
        return note
    return (
        f"{note} Logits divided by a temperature of "
        f"{text.number(temperature)}, fitted on this split, have "
        f"{text.percent(after, result.examples)}."
    )


def _slice_row(part: SliceResult, result: EvaluationResult) -> SliceRow:
    low, high = part.interval
    notes = []
    if part.small:
        notes.append("few examples")
    if high < result.correct / max(result.examples, 1):
        notes.append("below the whole")
    return SliceRow(
        part.value or "(empty)",
        part.examples,
        text.percent(part.accuracy, part.examples),
        text.percent_range(low, high, part.examples),
        whisker(part.accuracy, part.interval, "eval" if notes else "train"),
        text.percent(number(part.metrics, "average_precision_macro")),
        ", ".join(notes),
    )


def _reliability(result: EvaluationResult, before: Reliability) -> Plot:
    curves: list[Curve] = []
    keys: list[tuple[str, str]] = []
    for color, label, found in (
        ("other", "scaled", result.scaled),
        ("train", "as trained", before),
    ):
        if found is None:
            continue
        there = found.counts > 0
        curves.append(
            Curve(
                color,
                found.confidence[there],
                found.accuracy[there],
                "points",
                found.counts[there] / found.counts.sum(),
            )
        )
        error = text.percent(found.error, result.examples)
        keys.insert(0, (color, f"{label} {error}"))
    return Plot(
        "Reliability",
        keys,
        square(
            curves,
            x_title="confidence",
            y_title="right",
            diagonal=True,
            description="Accuracy by confidence; expected calibration error "
            + ", ".join(label for _, label in keys),
        ),
    )


def _roc(result: EvaluationResult) -> Plot | None:
    found = result.ranking
    if found is None:
        return None
    return _of_classes(
        "ROC",
        result,
        found.roc,
        found.roc_auc,
        x_title="false positives",
        y_title="true positives",
        diagonal=True,
    )


def _precision_recall(result: EvaluationResult) -> Plot | None:
    found = result.ranking
    if found is None:
        return None
    return _of_classes(
        "Precision and recall",
        result,
        found.precision,
        found.average_precision,
        x_title="recall",
        y_title="precision",
        diagonal=False,
    )


def _of_classes(
    title: str,
    result: EvaluationResult,
    curves: np.ndarray,
    areas: np.ndarray,
    *,
    x_title: str,
    y_title: str,
    diagonal: bool,
) -> Plot | None:
    """The mean of all classes, the weakest, and the others if few."""
    known = np.flatnonzero(~np.isnan(areas))
    if not len(known):
        return None
    weakest = int(known[np.argmin(areas[known])])
    lines = []
    if len(known) <= _MOST_LINES:
        lines += [Curve("muted", GRID, curves[i], "thin") for i in known]
    if len(known) > 1:
        lines.append(Curve("eval", GRID, curves[weakest]))
    lines.append(Curve("train", GRID, curves[known].mean(axis=0)))
    mean = text.percent(float(areas[known].mean()), result.examples)
    least = text.percent(float(areas[weakest]), result.examples)
    keys = [("train", f"mean {mean}")]
    if len(known) > 1:
        keys.append(("eval", f"weakest: {result.class_names[weakest]} {least}"))
    svg = square(
        lines,
        x_title=x_title,
        y_title=y_title,
        diagonal=diagonal,
        description=f"{title}: area {', '.join(label for _, label in keys)}",
    )
    return Plot(title, keys, svg)


def _finite(
    ends: tuple[float, float] | None,
) -> tuple[float, float] | None:
    return ends if ends is not None and np.isfinite(ends).all() else None
