"""Measures what saving does to the time of a step.

    python -m benchmarks.saving
    python -m benchmarks.saving --case=resnet20

Turns within one process, each a stretch of single steps: without saving; with
Lockstep's saving, which writes beside training; with the same files written
before training goes on; and Keras's `BackupAndRestore` in `model.fit`, whose
own steps without it are measured too, since it is they that it must not slow
down. A turn saves twice: its p99 is a step that saves. Prints Markdown. Close
other programs first.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from absl import app, flags

from benchmarks import (
    cases,
    saving_report,
    scaling_worker,
    tables,
    tf_contenders,
    turns,
)
from trainer import checkpoint, saver, saving, session

_CASE = flags.DEFINE_enum(
    "case", "resnet18", list(cases.CASES), "What to train."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Turns of each contender.", lower_bound=1
)
_STEPS = flags.DEFINE_integer(
    "steps", 40, "Steps in a turn; it saves twice.", lower_bound=4
)

Turn = Callable[[int], list[float]]


class _InTurn(saver.Saver):
    """Writes at once."""

    def submit(self, prepare: Callable[[], saver.Save]) -> None:
        """Carries out a save."""
        prepare()()


def main(arguments: Sequence[str]) -> None:
    """Measures and prints the tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions, case = tables.conditions(), cases.CASES[_CASE.value]
    period = _STEPS.value // 2
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
        crowd = _lockstep(case, folder, period) | _keras(case, folder, period)
        seconds: dict[str, list[list[float]]] = {name: [] for name in crowd}
        for name, turn in crowd.items():
            turns.say(f"warming up: {name}")
            turn(period)
        for round_ in range(_ROUNDS.value):
            for name, turn in crowd.items():
                turns.say(f"round {round_ + 1} of {_ROUNDS.value}: {name}")
                seconds[name].append(turn(_STEPS.value))
        size = _bytes(os.path.join(folder, saving_report.LOCKSTEP))
    print(conditions)
    print(
        f"- {case.title}; a checkpoint of {size:,} bytes every {period} steps"
    )
    print(saving_report.report(seconds))


def _lockstep(case: cases.Case, folder: str, period: int) -> dict[str, Turn]:
    parts = scaling_worker.build("one_device", 1, case)
    take_steps = parts.take_steps(0)

    def contender(name: str, background: saver.Saver | None) -> Turn:
        save = None
        if background is not None:
            to = checkpoint.Checkpoints(os.path.join(folder, name))
            save = saving.Save(
                parts.engine, parts.state, to, background, lambda: None
            )
        return lambda steps: _steps(parts, take_steps, save, steps, period)

    return {
        saving_report.NONE: contender(saving_report.NONE, None),
        saving_report.LOCKSTEP: contender(
            saving_report.LOCKSTEP, saver.Saver()
        ),
        saving_report.IN_TURN: contender(saving_report.IN_TURN, _InTurn()),
    }


def _steps(
    parts: session.Session,
    take_steps: Callable[[int], object],
    save: saving.Save | None,
    steps: int,
    period: int,
) -> list[float]:
    """Returns the seconds of single steps, saving included."""
    seconds = []
    for index in range(1, steps + 1):
        began = time.perf_counter()
        take_steps(1)
        if save is not None and index % period == period // 2:
            save(int(parts.state.step))
        seconds.append(time.perf_counter() - began)
    if save is not None:
        # What is still being written would slow down whoever is next.
        save.finish(int(parts.state.step))
    return seconds


class _Times(keras.callbacks.Callback):
    """Takes the time from the end of one step to the end of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes a step; callbacks before this one are part of it."""
        self.ends.append(time.perf_counter())


def _keras(case: cases.Case, folder: str, period: int) -> dict[str, Turn]:
    model, batches = tf_contenders.compiled(case)

    def contender(backup: bool) -> Turn:
        def turn(steps: int) -> list[float]:
            times = _Times()
            callbacks: list[keras.callbacks.Callback] = [times]
            if backup:
                path = os.path.join(folder, "backup")
                # The first step has no time of its own.
                save = keras.callbacks.BackupAndRestore(path, save_freq=period)
                callbacks.insert(0, save)
            model.fit(
                batches,
                steps_per_epoch=steps + 1,
                verbose=0,
                callbacks=callbacks,
            )
            return np.diff(times.ends).tolist()

        return turn

    return {
        saving_report.FIT: contender(False),
        saving_report.BACKUP: contender(True),
    }


def _bytes(folder: str) -> int:
    """Returns the size of one of the checkpoints in a folder."""
    newest = sorted(os.listdir(folder))[-1]
    files = os.scandir(os.path.join(folder, newest))
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    app.run(main)
