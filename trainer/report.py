"""One self-contained page about a run: curves, scores, mistakes, config.

`python -m trainer.report --model_dir=D` makes it again from what is there.
"""

from __future__ import annotations

import datetime
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import jinja2
import tensorflow as tf
from absl import app, flags

from input import contact_sheet
from input.files import write_atomically
from trainer import report_classes as classes
from trainer import report_curves as curves
from trainer import report_headline as headline
from trainer import report_quality as quality
from trainer import report_text as text
from trainer.errors import ConfigError, OutputError, writing
from trainer.report_run import Run, number, read_run
from trainer.scores import class_scores, macro_average

_FACTS = (
    ("lockstep_version", "Lockstep"),
    ("tensorflow", "TensorFlow"),
    ("keras", "Keras"),
    ("python", "Python"),
    ("git_commit", "Git commit"),
    ("seed", "Seed"),
    ("data_fingerprint", "Data fingerprint"),
)


def write_report(model_dir: str) -> str:
    """Writes model_dir/report.html, over an older one if there is one.

    Reads metrics.jsonl, run.json, operative_config.gin and
    evaluation/*.npz. Each may be missing or cut short: the page then says
    so and shows the rest. The same files give the same bytes.

    Args:
      model_dir: local or remote (`gs://`) folder of a run.

    Returns:
      The path of the report.

    Raises:
      ConfigError: there is no such folder.
    """
    if not tf.io.gfile.isdir(model_dir):
        raise ConfigError(
            f"model_dir is {model_dir!r}, but there is no such folder. Give "
            "the model_dir of a run that has been started."
        )
    page = render(read_run(model_dir))
    path = os.path.join(model_dir, "report.html")
    # File names may hold bytes that are no text; they become "?".
    with writing(path):
        write_atomically(path, page.encode("utf-8", errors="replace"))
    return path


def render(run: Run) -> str:
    """The HTML of the report."""
    evaluations = headline.evaluations(run)
    best = evaluations[0] if evaluations else None
    template = _environment().get_template("report.html.j2")
    return template.render(
        run=run,
        subtitle=_subtitle(run),
        notes=[*curves.warnings(run), *run.notes],
        tiles=headline.tiles(run, best),
        preview=contact_sheet.data_uri(run.preview) if run.preview else "",
        charts=curves.curves(run),
        legend=curves.legend(run),
        evaluations=evaluations,
        counts=_counts(run),
        facts=[
            (label, str(run.facts[key]))
            for key, label in _FACTS
            if run.facts.get(key) is not None
        ],
        **_evaluation_parts(run, best),
    )


def _evaluation_parts(
    run: Run, best: headline.Evaluation | None
) -> dict[str, Any]:
    """What the page shows of the evaluation that speaks for the run."""
    result = best.result if best is not None else None
    if result is None:
        return {"result": None}
    scores = class_scores(result.confusion_matrix)
    shown, folded = classes.fold(classes.class_rows(result, scores))
    return {
        "result": result,
        "wrong": result.examples - result.correct,
        "cells": classes.matrix_cells(result),
        "heat_map": classes.heat_map(result),
        "numbered": classes.are_numbered(result),
        "class_rows": shown,
        "folded_class_rows": folded,
        "macro": macro_average(scores),
        "classes_with_examples": int((scores.support > 0).sum()),
        "confused": classes.confused_rows(result),
        "mistakes": classes.mistake_views(result),
        "ranked": result.ranking,
        "metric_rows": quality.metric_rows(result),
        "plots": quality.plots(result),
        "calibration_note": quality.calibration_note(result),
        "slice_tables": quality.slice_tables(result),
    }


def _counts(run: Run) -> dict[str, Any]:
    """The class counts of the splits, as columns of one table."""
    splits = classes.split_counts(run.facts)
    number_of_classes = max((len(s.counts) for s in splits), default=0)
    result = next(iter(run.results.values()), None)
    names = classes.class_names(run.facts, result, number_of_classes)
    rows = [
        (name, [s.counts[i] if i < len(s.counts) else 0 for s in splits])
        for i, name in enumerate(names)
    ]
    shown, folded = classes.fold(rows)
    return {"splits": splits, "rows": shown, "folded": folded}


def _subtitle(run: Run) -> list[str]:
    """When the run was started and how far it came."""
    parts = []
    started = number(run.facts, "started")
    if started is not None:
        parts.append(f"started {_moment(started)}")
    if run.log.train:
        last = run.log.train[-1]
        part = f"last step logged: {text.count(last['step'])}"
        time = number(last, "time")
        parts.append(part if time is None else f"{part}, {_moment(time)}")
    return parts


def _moment(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@functools.cache
def _environment() -> jinja2.Environment:
    folder = os.path.join(os.path.dirname(__file__), "templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=text.count,
        counted=text.counted,
        number=text.number,
        percent=text.percent,
    )
    return environment


def main(arguments: Sequence[str]) -> None:
    """Writes the report of --model_dir and says where it is."""
    try:
        if len(arguments) > 1:
            raise ConfigError(f"{arguments[1]!r} is not a flag: see --help.")
        if not flags.FLAGS.model_dir:
            raise ConfigError("--model_dir is missing: name a run's folder.")
        path = write_report(flags.FLAGS.model_dir)
    except ConfigError as error:
        _fail(error)
    except OutputError as error:
        _fail(error, 1)
    print(path)


def _parse_flags(arguments: Sequence[str]) -> list[str]:
    """Ends with code 2, not absl's 1, where a flag is wrong."""
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        _fail(error)


def _fail(error: Exception, code: int = 2) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    # Defined here only: other binaries that write reports have their own.
    flags.DEFINE_string(
        "model_dir", None, "Folder of the run whose report.html is written."
    )
    app.run(main, flags_parser=_parse_flags)
