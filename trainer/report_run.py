"""Reads what a run left in its model_dir, however little that is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from input import contact_sheet, files
from trainer import report_export
from trainer.results import EvaluationResult

Entry = Mapping[str, Any]

_LINE_START = '{"kind"'


@dataclasses.dataclass(frozen=True)
class Log:
    """The lines of metrics.jsonl, sorted out.

    Attributes:
      train: one entry per logged step, steps ascending.
      evaluations: the same for each evaluated split.
      restarts: steps at which the run was started again, ascending; a step
        is repeated if it happened there more than once.
      rollbacks: the lines of divergences that were gone back from, in order.
        What came between is not in `train` and `evaluations`.
      starved: the lines on waiting for input, in order.
      seconds: time spent training, from each start to its last logged
        step, so that the time between a crash and the restart does not
        count. None if nothing was logged.
    """

    train: Sequence[Entry] = ()
    evaluations: Mapping[str, Sequence[Entry]] = dataclasses.field(
        default_factory=dict
    )
    restarts: tuple[int, ...] = ()
    rollbacks: Sequence[Entry] = ()
    starved: Sequence[Entry] = ()
    seconds: float | None = None

    @property
    def last_step(self) -> int:
        """The highest step of any entry, 0 if there is none."""
        last = [
            entries[-1]["step"]
            for entries in (self.train, *self.evaluations.values())
            if entries
        ]
        return max(last, default=0)


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything known of a run.

    Attributes:
      name: of the run, for people.
      facts: run.json; empty if it is missing.
      log: metrics.jsonl.
      results: the newest evaluation of each split.
      config: operative_config.gin; "" if it is missing.
      notes: sentences on what could not be read.
      preview: preview.png, what the network saw; b"" if it is missing.
      export: evaluation/export.json; None if nothing has been exported.
    """

    name: str
    facts: Mapping[str, Any]
    log: Log
    results: Mapping[str, EvaluationResult]
    config: str
    notes: tuple[str, ...]
    preview: bytes = b""
    export: report_export.Export | None = None


def read_run(model_dir: str) -> Run:
    """Reads a model_dir; what is missing or damaged becomes a note."""
    notes: list[str] = []
    facts = _read_facts(os.path.join(model_dir, "run.json"), notes)
    lines = _read_lines(os.path.join(model_dir, "metrics.jsonl"), notes)
    config = _read(os.path.join(model_dir, "operative_config.gin"))
    if config is None:
        notes.append("operative_config.gin is missing.")
    folder_name = os.path.basename(os.path.normpath(model_dir))
    return Run(
        name=str(facts.get("name") or folder_name),
        facts=facts,
        log=sort_lines(lines),
        results=_read_results(os.path.join(model_dir, "evaluation"), notes),
        config=config or "",
        export=report_export.read(model_dir, notes),
        notes=tuple(notes),
        preview=_read_bytes(os.path.join(model_dir, contact_sheet.FILE_NAME))
        or b"",
    )


def sort_lines(lines: Sequence[Entry]) -> Log:
    """Makes a Log of the lines of metrics.jsonl.

    A run that was killed repeats the steps since its last checkpoint when it
    is started again: of two lines for the same step, the later one counts.

    Args:
      lines: in the order of the file, each with "kind" and an integer
        "step".
    """
    by_step: dict[str, dict[int, Entry]] = {}
    starts: list[int] = []
    rollbacks: list[Entry] = []
    starved: list[Entry] = []
    clock = _Stopwatch()
    for line in lines:
        kind, step = line["kind"], line["step"]
        if kind == "run":
            starts.append(step)
            clock.start(line.get("time"))
        elif kind == "train":
            by_step.setdefault("", {})[step] = line
            clock.lap(line.get("time"))
        elif kind == "eval":
            split = str(line.get("split") or "eval")
            by_step.setdefault(split, {})[step] = line
        elif kind == "input":
            starved.append(line)
        elif kind == "rollback":
            rollbacks.append(line)
            _forget(by_step, after=line.get("to_step"))
    ordered = {
        key: [entries[step] for step in sorted(entries)]
        for key, entries in by_step.items()
    }
    return Log(
        train=ordered.pop("", []),
        evaluations=ordered,
        restarts=tuple(sorted(starts[1:])),
        rollbacks=rollbacks,
        starved=starved,
        seconds=clock.total,
    )


def _forget(by_step: dict[str, dict[int, Entry]], after: Any) -> None:
    """Removes what a rollback has undone."""
    if not isinstance(after, int):
        return
    for entries in by_step.values():
        for step in [step for step in entries if step > after]:
            del entries[step]


def column(entries: Sequence[Entry], key: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of one key over the steps at which it was logged.

    Returns:
      Steps, int64 [n] ascending, and values, float64 [n]; null and anything
      that is not finite is NaN. Entries without the key are left out.
    """
    present = [entry for entry in entries if key in entry]
    values = [number(entry, key) for entry in present]
    return (
        np.array([entry["step"] for entry in present], np.int64),
        np.array([np.nan if v is None else v for v in values], np.float64),
    )


def number(source: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a JSON object, None if it is anything else."""
    value = source.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def median(entries: Sequence[Entry], key: str) -> float | None:
    """Median of the finite values of a key, None if there are none."""
    _, values = column(entries, key)
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


class _Stopwatch:
    """Adds up the times between each start and the last lap after it."""

    def __init__(self) -> None:
        self.total: float | None = None
        self._last: float | None = None

    def start(self, time: Any) -> None:
        self._last = time if isinstance(time, int | float) else None

    def lap(self, time: Any) -> None:
        if not isinstance(time, int | float):
            return
        if self._last is None:
            self._last = time
        # A clock that was set back must not take time away.
        passed = max(0.0, time - self._last)
        self.total = (self.total or 0.0) + passed
        self._last = time


def _read(path: str) -> str | None:
    """The text of a file; None if there is no such file."""
    content = _read_bytes(path)
    return None if content is None else content.decode(errors="replace")


def _read_bytes(path: str) -> bytes | None:
    try:
        return files.read(path)
    except FileNotFoundError:
        return None


def _read_facts(path: str, notes: list[str]) -> Mapping[str, Any]:
    text = _read(path)
    if text is None:
        notes.append("run.json is missing.")
        return {}
    try:
        facts = json.loads(text)
    except json.JSONDecodeError as error:
        notes.append(f"run.json could not be read: {error}.")
        return {}
    if not isinstance(facts, dict):
        notes.append("run.json does not hold a JSON object.")
        return {}
    return facts


def _read_lines(path: str, notes: list[str]) -> list[Entry]:
    """The well-formed lines; the number of the others becomes a note."""
    text = _read(path)
    if text is None:
        notes.append("metrics.jsonl is missing: nothing was logged.")
        return []
    lines: list[Entry] = []
    damaged: list[str] = []
    for position, raw in enumerate(text.split("\n"), start=1):
        if not raw.strip():
            continue
        line = _parse(raw)
        if line is None:
            damaged.append(str(position))
            # A run that was killed while it wrote leaves half a line, and
            # the first line after its restart goes on from there.
            line = _parse(raw[raw.rfind(_LINE_START) :])
        if line is not None:
            lines.append(line)
    if damaged:
        shown = ", ".join(damaged[:5]) + ", …" * (len(damaged) > 5)
        plural = "s" * (len(damaged) > 1)
        notes.append(
            f"metrics.jsonl: damaged line{plural} {shown}, as a run leaves "
            "when it is killed; the rest was read."
        )
    return lines


def _parse(raw: str) -> Entry | None:
    """One line of metrics.jsonl, None if it is not well-formed."""
    try:
        line = json.loads(raw)
        well_formed = isinstance(line["step"], int) and line["kind"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None
    return line if well_formed else None


def _read_results(
    folder: str, notes: list[str]
) -> Mapping[str, EvaluationResult]:
    results: dict[str, EvaluationResult] = {}
    for path in sorted(tf.io.gfile.glob(os.path.join(folder, "*.npz"))):
        try:
            result = EvaluationResult.load(path)
        except ValueError as error:
            notes.append(str(error))
        else:
            results[result.split] = result
    return results
