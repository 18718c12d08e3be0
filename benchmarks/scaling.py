r"""Measures how training scales from one process to several, one core each.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --processes=1,2,3,4 --allreduce \
      --output=allreduce.json

Weak scaling: every process trains on the rows of the case. In turns, within one
run: one process alone; as many processes that do not communicate (what the
memory of the machine leaves of several cores); and for each engine the
training, the training with its all-reduce switched off, and the all-reduce
alone. Each ratio is the median of the ratios within a round. Processes beyond
the cores share them; their compute is measured under the same crowding.

--allreduce also times all-reduces from 4 KiB to 64 MiB, fits the model of
launch/ring.py to them and holds its steps against the measured ones. Prints
Markdown. Close other programs first: with 2 processes it takes a quarter of an
hour, with --processes=1,2,3,4 --allreduce more than an hour and 16 GB.
"""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from benchmarks import cases, groups, tables, turns
from benchmarks import scaling_report as report
from launch import fit

_ENGINES = flags.DEFINE_list(
    "engines", ["horovod", "multi_worker"], "Engines to measure."
)
_PROCESSES = flags.DEFINE_list(
    "processes",
    ["1", "2"],
    "Numbers of processes. 1 is what the others are compared with, and always "
    "measured.",
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 7, "Turns of each contender.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    10.0,
    "Length of a turn of the one process in seconds; the others take as many "
    "steps.",
    lower_bound=0.0,
)
_CASE = flags.DEFINE_enum(
    "case", "resnet20", list(cases.CASES), "What each process trains."
)
_ALLREDUCE = flags.DEFINE_bool(
    "allreduce", False, "Also time all-reduces, fit the model and check it."
)
_SWEEPS = flags.DEFINE_integer(
    "sweeps", 5, "Times that --allreduce measures each size.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file for the times of --allreduce, which launch.fit reads.",
)

_KNOWN_ENGINES = ("horovod", "multi_worker")
_WARM_UP_STEPS = 10
_FLOAT_BYTES = 4

flags.register_validator(
    "engines",
    lambda names: bool(names) and set(names) <= set(_KNOWN_ENGINES),
    f"must be some of {', '.join(_KNOWN_ENGINES)}, separated by commas.",
)
flags.register_validator(
    "processes",
    lambda texts: (
        all(text.isdecimal() and int(text) for text in texts)
        and any(int(text) > 1 for text in texts)
    ),
    "must be whole numbers above 0, one of them at least 2, such as 1,2.",
)


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    counts = sorted({int(text) for text in _PROCESSES.value} - {1})
    versions: set[str] = set()
    parameters: set[int] = set()
    phases = [_phase(n, versions, parameters) for n in counts]
    measured = _sweep(counts) if _ALLREDUCE.value else []
    print(conditions)
    print(f"- {report.topology()}")
    print(f"- {'; '.join(sorted(versions))}")
    for phase in phases:
        print(f"\n### {phase.processes} processes\n")
        print(report.times(phase) + "\n")
        print(report.quiet(phase) + "\n")
        print(report.shares(phase))
    if measured:
        size = _FLOAT_BYTES * max(parameters)
        print("\n### All-reduce\n\n" + report.all_reduces(measured))
        print("\n" + fit.describe(measured))
        print(f"\n### Model and measurement, gradients of {size:,} bytes\n")
        print(report.predictions(phases, measured, size))


def _phase(n: int, versions: set[str], parameters: set[int]) -> report.Phase:
    """Measures with n processes; adds the versions and parameters met."""
    case = cases.CASES[_CASE.value]
    with contextlib.ExitStack() as stack:

        def start(kind: str, engine: str, count: int) -> groups.Group:
            turns.say(f"starting {count} x {kind}, {engine}")
            group = groups.start(kind, engine, count, _CASE.value)
            stack.callback(group.close)
            group.wait_ready()
            versions.add(group.version)
            parameters.add(group.parameters)
            return group

        crowd = {
            report.ONE: start("train", "one_device", 1),
            report.CONTROL.format(n=n): start("train", "one_device", n),
        }
        for engine in _ENGINES.value:
            crowd[engine] = start("train", engine, n)
            # Who waits on a shared core leaves it to the others: what waiting
            # costs cannot be seen there.
            if n <= len(os.sched_getaffinity(0)):
                crowd[report.no_reduce(engine)] = start("no_reduce", engine, n)
            crowd[report.reduce(engine)] = start("reduce", engine, n)
        turns.same_parameters([group.parameters for group in crowd.values()])
        turns.warm_up(crowd, _WARM_UP_STEPS)
        steps = turns.steps_for(crowd[report.ONE], _SECONDS.value)
        title = f"{case.title}, {n} processes"
        one = crowd[report.ONE].members[0]
        before = one.cpu_seconds()
        seconds = turns.take(crowd, _ROUNDS.value, steps, title)
        spent = one.cpu_seconds() - before
    busy = spent / (steps * sum(seconds[report.ONE]))
    return report.Phase(n, _ENGINES.value, seconds, busy)


def _sweep(counts: Sequence[int]) -> list[fit.Measurement]:
    """Times all-reduces, and writes --output."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, "times.json")
        for engine in _ENGINES.value:
            for n in counts:
                turns.say(f"all-reduces of {n} processes, {engine}")
                group = groups.start("sweep", engine, n, _CASE.value, str(path))
                with contextlib.closing(group):
                    group.wait_ready()
                    group.run(_SWEEPS.value)
                found += json.loads(path.read_text())
    if _OUTPUT.value:
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(found, indent=1))
    return [fit.Measurement(**item) for item in found]


if __name__ == "__main__":
    app.run(main)
