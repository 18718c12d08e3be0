"""Processes that take steps when told to, one at a time.

Each contender has a process of its own, so that thread pools and allocators do
not meet, and stays alive between rounds, so that only steps are measured.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Protocol

import psutil

from benchmarks import cases

REPO = pathlib.Path(__file__).resolve().parents[1]

# Prefetching goes on for a moment after an answer; the next contender must not
# pay for it.
_SETTLE_SECONDS = 0.5


class Contender(Protocol):
    """Something that trains a case."""

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds they took."""

    def close(self) -> None:
        """Ends the process."""


def environment() -> dict[str, str]:
    """Returns the environment of a contender: all cores, few messages."""
    return os.environ | {
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


class Worker:
    """A process that speaks `benchmarks.orders`.

    Attributes:
        version: Name and version of its framework.
        parameters: Trainable parameters of its model.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.version = ""
        self.parameters = 0
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=REPO,
            env=environment(),
        )

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds now."""
        return psutil.Process(self._process.pid).memory_info().rss

    def wait_ready(self) -> None:
        """Waits until the process has built its model."""
        answer = self._answer()
        self.version = answer["version"]
        self.parameters = answer["parameters"]

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds they took."""
        time.sleep(_SETTLE_SECONDS)
        print(steps, file=self._process.stdin, flush=True)
        return self._answer()["seconds"]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if line:
            return json.loads(line)
        self._log.seek(0)
        raise RuntimeError(
            f"{self._process.args!r} ended with code {self._process.wait()}:\n"
            f"{self._log.read()[-4000:]}"
        )


def tf_worker(name: str, case: str) -> Worker:
    """Starts a contender of benchmarks/tf_contenders.py."""
    module = "benchmarks.tf_contenders"
    return Worker([sys.executable, "-m", module, name, case])


def torch_worker(case: str, python: str) -> Worker | None:
    """Starts benchmarks/torch_contender.py; None without PyTorch."""
    code = "import importlib.util as u; exit(u.find_spec('torch') is None)"
    if subprocess.run([python, "-c", code], check=False).returncode:
        return None
    return Worker([python, "-m", "benchmarks.torch_contender", case])


class TrainerMain:
    """`python -m trainer.main`, a new process each time.

    Its speed is that between the second and the last line of metrics.jsonl, so
    that start, compilation and the first opening of TensorBoard's file do not
    count, but logging does.
    """

    _LOG_EVERY = 10

    def __init__(self, case: cases.Case) -> None:
        self._case = case

    def run(self, steps: int) -> float:
        """Trains, and returns the seconds that the last `steps` took."""
        every = min(self._LOG_EVERY, steps)
        params = [
            *self._case.gin_params,
            f'train.duration = "{2 * every + steps} steps"',
            f'train.log_every = "{every} steps"',
        ]
        with tempfile.TemporaryDirectory() as model_dir:
            command = [
                *(sys.executable, "-m", "trainer.main"),
                "--gin_file=benchmarks/step.gin",
                f"--model_dir={model_dir}",
                *(f"--gin_param={param}" for param in params),
            ]
            time.sleep(_SETTLE_SECONDS)
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd=REPO,
                env=environment(),
            )
            if done.returncode:
                raise RuntimeError(f"{command}:\n{done.stderr[-4000:]}")
            return _steady_seconds(pathlib.Path(model_dir, "metrics.jsonl"))

    def close(self) -> None:
        """Does nothing: the process has ended."""


def _steady_seconds(metrics: pathlib.Path) -> float:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    times = [line["time"] for line in lines if line["kind"] == "train"]
    return times[-1] - times[1]
