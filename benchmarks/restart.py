"""Measures what a restart costs, and how soon a checkpoint is evaluated.

    python -m benchmarks.restart

On scikit-learn's digits, with real processes: from a committed checkpoint to
its line in metrics.jsonl by an evaluation job; from the command to the first
step of a resumed run; from the SIGKILL of one of two workers to the next step
after launch.local has started both again; and the share of useful time of a
run that is killed again and again. Prints Markdown. Close other programs first;
it takes about 5 minutes.
"""

import contextlib
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
from absl import app, flags

from benchmarks import tables, turns

_TIMES = flags.DEFINE_integer(
    "times", 5, "How often to measure each.", lower_bound=1
)
_KILLS = flags.DEFINE_integer(
    "kills", 10, "Kills of the run whose useful time is measured."
)
_KILL_SECONDS = flags.DEFINE_float(
    "kill_seconds", 30.0, "Seconds from the start of a run to its kill."
)

_PATIENCE = 300.0


def main(arguments: Sequence[str]) -> None:
    """Measures and prints the table."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch, "digits")
        _run("input.convert", "--source=digits", f"--output={data}")
        runs = _Runs(pathlib.Path(scratch), data)
        rows = [
            _row("commit to metrics.jsonl, evaluation job", runs.evaluated()),
            _row("command to the first resumed step", runs.resumed()),
            _row("SIGKILL of one of two workers to the next", runs.recovered()),
        ]
        useful, steps = runs.useful()
    print(conditions)
    print(tables.markdown(["seconds", "median", "min..max"], rows))
    print(
        f"\nKilled {_KILLS.value} times, {_KILL_SECONDS.value:g} s after each "
        f"start: {steps:,} steps, {useful:.1%} of the time of a run without "
        "interruption for as many."
    )


class _Runs:
    """Trainings of digits under one folder."""

    def __init__(self, scratch: pathlib.Path, data: pathlib.Path) -> None:
        self._scratch = scratch
        self._data = data

    def _flags(self, name: str, *bindings: str) -> list[str]:
        all_bindings = (
            f'DATA_DIR="{self._data}"',
            'train.log_every="10 steps"',
            'train.checkpoint_every="50 steps"',
            'train.duration="100000 steps"',
            "train.evaluate_every=None",
            *bindings,
        )
        return [
            "--gin_file=gin/digits.gin",
            f"--model_dir={self._scratch / name}",
            *(f"--gin_param={b}" for b in all_bindings),
        ]

    def evaluated(self) -> list[float]:
        """Returns seconds from a commit to its line, for several."""
        turns.say("an evaluation job beside a trainer")
        folder = self._scratch / "evaluated"
        # Seldom enough that the job is waiting when a checkpoint comes.
        own = self._flags("evaluated", 'train.checkpoint_every="1000 steps"')
        seconds: dict[int, float] = {}
        with _process("trainer.main", *own), _process("trainer.evaluate", *own):

            def look() -> bool:
                for line in _lines(folder, "eval"):
                    path = folder / f"checkpoints/step-{line['step']:09d}"
                    if line["step"] not in seconds and path.exists():
                        commit = path.stat().st_ctime
                        seconds[line["step"]] = line["time"] - commit
                # The first waits for the job's own start and compilation.
                return len(seconds) > _TIMES.value

            _wait(look)
        return list(seconds.values())[1:]

    def resumed(self) -> list[float]:
        """Returns seconds from the command to the first resumed step."""
        turns.say("a run that is resumed")
        folder, own = self._scratch / "resumed", self._flags("resumed")
        with _process("trainer.main", *own):
            _wait_for_checkpoint(folder)
        return [self._resume(folder, own) for _ in range(_TIMES.value)]

    def _resume(self, folder: pathlib.Path, own: list[str]) -> float:
        before = len(_lines(folder, "train"))
        one = [*own, "--gin_param=train.log_every='1 step'"]
        began = time.time()
        with _process("trainer.main", *one):
            _wait(lambda: len(_lines(folder, "train")) > before)
        return _lines(folder, "train")[before]["time"] - began

    def recovered(self) -> list[float]:
        """Returns seconds from a worker's SIGKILL to the next step."""
        turns.say("two workers, one of them killed")
        folder = self._scratch / "recovered"
        own = self._flags("recovered", 'make_engine.name="multi_worker"')
        seconds = []
        launcher = [
            *("--workers=2", "--engine=multi_worker"),
            f"--max_restarts={_TIMES.value}",
            *("--", sys.executable, "-m", "trainer.main"),
        ]
        with _process("launch.local", *launcher, *own) as process:
            for _ in range(_TIMES.value):
                _wait_for_checkpoint(folder)
                killed = time.time()
                _worker(process).kill()

                def next_step(killed: float = killed) -> list[float]:
                    # A step under way may still be written.
                    run = [x["time"] for x in _lines(folder, "run")]
                    lines = [x["time"] for x in _lines(folder, "train")]
                    return [t for t in lines if t > run[-1] > killed]

                _wait(lambda: bool(next_step()))  # noqa: B023 - called at once
                seconds.append(next_step()[0] - killed)
        return seconds

    def useful(self) -> tuple[float, int]:
        """Returns the share of useful time of a killed run, and its steps."""
        folder, own = self._scratch / "killed", self._flags("killed")
        began = time.time()
        for kill in range(_KILLS.value):
            turns.say(f"kill {kill + 1} of {_KILLS.value}")
            with _process("trainer.main", *own) as process:
                time.sleep(_KILL_SECONDS.value)
                process.kill()
        spent = time.time() - began
        steps = _checkpoints(folder)[-1]
        turns.say("the same without interruption")
        whole = self._flags("whole", f'train.duration="{steps} steps"')
        began = time.time()
        with _process("trainer.main", *whole):
            done = self._scratch / "whole" / "DONE"
            _wait(done.exists)
        return (time.time() - began) / spent, steps


def _row(name: str, seconds: list[float]) -> list[str]:
    return [
        name,
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f}..{max(seconds):.2f}",
    ]


def _run(module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def _process(
    module: str, *arguments: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a module while the context lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _worker(launcher: "subprocess.Popen[bytes]") -> psutil.Process:
    """Returns the second of the workers that a launcher has started."""
    found = [
        process
        for process in psutil.Process(launcher.pid).children(recursive=True)
        if process.cmdline()[1:3] == ["-m", "trainer.main"]
    ]
    return found[-1]


def _lines(folder: pathlib.Path, kind: str) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    # A line that is being written has no end yet.
    entries = (json.loads(t) for t in text.splitlines(True) if t[-1] == "\n")
    return [entry for entry in entries if entry["kind"] == kind]


def _checkpoints(folder: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints, rising."""
    names = [path.name for path in folder.glob("checkpoints/step-*")]
    return sorted(int(n[5:]) for n in names if n[-1].isdigit())


def _wait_for_checkpoint(folder: pathlib.Path) -> None:
    """Returns when another checkpoint has been committed."""
    known = _checkpoints(folder)
    _wait(lambda: _checkpoints(folder) != known)


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("It did not happen: run the command by hand.")
        time.sleep(0.01)


if __name__ == "__main__":
    app.run(main)
