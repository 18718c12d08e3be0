"""The run over its steps: curves, how to read them, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from markupsafe import Markup

from trainer import report_text as text
from trainer.report_charts import DENSE, Line, Panel, Scale, draw
from trainer.report_run import Entry, Run, column, median

_LARGE, _SMALL = (440.0, 240.0), (340.0, 220.0)  # points
# A schedule's shape is known on a linear scale, however small its end.
_SCALES: dict[str, Scale] = {
    "top_1_accuracy": "accuracy",
    "subset_accuracy": "accuracy",
    "learning_rate": "linear",
}
_EVAL_COLORS = ("eval", "other")  # further splits are in the table only


class Key(NamedTuple):
    """An entry of a chart's legend: CSS color name, label, last value."""

    color: str
    label: str
    value: str


class Chart(NamedTuple):
    """A drawing with its caption."""

    title: str
    large: bool
    keys: Sequence[Key]
    svg: Markup


def curves(run: Run) -> list[Chart]:
    """The charts for which something was logged."""
    charts = (
        _curve(run, "Loss", "loss"),
        _curve(run, "Top-1 accuracy", "top_1_accuracy"),
        _curve(run, "All classes right", "subset_accuracy"),
        _curve(run, "Learning rate", "learning_rate"),
        _speed_chart(run),
        _curve(run, "Gradient norm", "gradient_norm"),
    )
    return [chart for chart in charts if chart is not None]


def warnings(run: Run) -> list[str]:
    """What a person must not miss, beside what could not be read."""
    found = []
    for key, name in (("loss", "loss"), ("gradient_norm", "gradient norm")):
        steps, values = column(run.log.train, key)
        bad = steps[np.isnan(values)]
        if len(bad):
            found.append(
                f"The {name} of training is not finite at "
                f"{text.counted(len(bad), 'logged step')}, "
                f"first at step {text.count(bad[0])}."
            )
    # The last one: earlier starts may have had another config.
    for line in run.log.starved[-1:]:
        found.append(
            f"At step {text.count(line['step'])}: {line.get('advice', '')}"
        )
    return found


def legend(run: Run) -> str:
    """How to read the curves: smoothing, restarts and rollbacks."""
    sentences = ["Over the training steps."]
    if len(run.log.train) >= DENSE:
        sentences.append(
            "Pale lines are the values as logged, bold ones their running mean."
        )
    if run.log.restarts:
        sentences.append(_restarts(run.log.restarts))
    sentences.extend(
        f"Rolled back from step {text.count(line['step'])} to "
        f"{text.count(line['to_step'])} (dotted line): {line['reason']}."
        for line in run.log.rollbacks
        if isinstance(line.get("to_step"), int) and "reason" in line
    )
    return " ".join(sentences)


def _restarts(steps: Sequence[int]) -> str:
    shown = [text.count(step) for step in sorted(set(steps))]
    if len(shown) > 8:
        shown = [*shown[:7], f"… {shown[-1]}"]
    times = "once" if len(steps) == 1 else f"{len(steps)} times"
    return (
        f"Restarted {times} (dashed line), "
        f"at step{'s'[: len(shown) > 1]} {', '.join(shown)}."
    )


def _curve(run: Run, title: str, key: str) -> Chart | None:
    """A quantity of training and, if it was evaluated, of each split."""
    accuracy = _SCALES.get(key) == "accuracy"
    large = accuracy or key == "loss"
    shown = text.percent if accuracy else text.number
    lines, keys, words = [], [], []
    for color, label, entries in _sources(run):
        steps, values = column(entries, key)
        finite = values[np.isfinite(values)]
        if not len(finite):
            continue
        lines.append(Line(color, _style(color, key), steps, values))
        first, last = shown(finite[0]), shown(finite[-1])
        keys.append(Key(color, label if large else "last", last))
        words.append(f"{label} from {first} to {last}")
    if not lines:
        return None
    svg = draw(
        key,
        [Panel(lines, _SCALES.get(key, "value"))],
        size=_LARGE if large else _SMALL,
        last_step=run.log.last_step,
        restarts=run.log.restarts,
        rollbacks=[line["step"] for line in run.log.rollbacks],
        description=f"{title} over the steps: {', '.join(words)}.",
    )
    return Chart(title, large, keys, Markup(svg))


def _sources(run: Run) -> list[tuple[str, str, Sequence[Entry]]]:
    """Colour, name and entries of training and of the evaluated splits."""
    splits = sorted(run.log.evaluations)
    return [("train", "train", run.log.train)] + [
        (color, split, run.log.evaluations[split])
        for color, split in zip(_EVAL_COLORS, splits, strict=False)
    ]


def _style(color: str, key: str) -> Literal["exact", "noisy", "points"]:
    if color != "train":
        return "points"
    return "exact" if key == "learning_rate" else "noisy"


def _speed_chart(run: Run) -> Chart | None:
    """Images per second over the share of time spent waiting for them."""
    quantities: tuple[tuple[str, str, Scale, float], ...] = (
        ("images_per_second", "images/s", "value", 1.6),
        ("input_wait_fraction", "waiting for input", "share", 1.0),
    )
    panels, words = [], []
    for key, title, scale, weight in quantities:
        typical = median(run.log.train, key)
        if typical is None:
            continue
        line = Line("train", "noisy", *column(run.log.train, key))
        panels.append(Panel([line], scale, title, weight))
        shown = text.percent if scale == "share" else text.number
        words.append(f"{title} {shown(typical)} in the median")
    if not panels:
        return None
    svg = draw(
        "speed",
        panels,
        size=_SMALL,
        last_step=run.log.last_step,
        restarts=run.log.restarts,
        rollbacks=[line["step"] for line in run.log.rollbacks],
        description=f"Speed over the steps: {', '.join(words)}.",
    )
    return Chart("Speed", False, [], Markup(svg))
