"""Watches the memory of a training, and takes its start apart.

    python -m benchmarks.memory

Converts scikit-learn's digits to a temporary directory and trains
gin/digits.gin on them with `python -m trainer.main`, checkpoints and
evaluations included. Reads the process's resident size whenever it logs, and
fits a line through that. Then starts a training several times over and says
where the seconds to the first step go (benchmarks/startup.py). Prints Markdown.
"""

import contextlib
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import psutil
import tqdm
from absl import app, flags

from benchmarks import contenders, tables

_STEPS = flags.DEFINE_integer(
    "steps", 2000, "Steps to watch, after the warm-up.", lower_bound=200
)
_WARM_UP = flags.DEFINE_integer(
    "warm_up",
    5000,
    "Steps before the first sample: until then the allocator's arenas fill.",
    lower_bound=0,
)
_EVERY = flags.DEFINE_integer(
    "every", 50, "Steps between two samples.", lower_bound=1
)
_STARTS = flags.DEFINE_integer(
    "starts", 5, "Times to start a training; medians are shown.", lower_bound=1
)

_POLL_SECONDS = 0.005
_KIB = 1024
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Slope:
    """A straight line through samples.

    Attributes:
        value: Change of the sample per step.
        error: Standard error of the value.
    """

    value: float
    error: float

    @property
    def flat(self) -> bool:
        """Whether the value is within two standard errors of nothing."""
        return abs(self.value) <= 2 * self.error


def fit_slope(steps: Sequence[float], samples: Sequence[float]) -> Slope:
    """Returns the least-squares slope of at least three samples."""
    x = np.asarray(steps, np.float64) - np.mean(steps)
    y = np.asarray(samples, np.float64) - np.mean(samples)
    value = (x @ y) / (x @ x)
    variance = np.sum((y - value * x) ** 2) / (len(x) - 2)
    return Slope(float(value), float(np.sqrt(variance / (x @ x))))


def main(arguments: Sequence[str]) -> None:
    """Measures both and prints their tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    print(tables.conditions())
    with tempfile.TemporaryDirectory() as scratch:
        data = str(pathlib.Path(scratch, "digits"))
        _module("input.convert", "--source=digits", f"--output={data}")
        samples = _watch(data, pathlib.Path(scratch, "run"))
        print("\n### Resident size\n\n" + describe_memory(samples))
        print("\n### From start to first step\n\n" + _starts(data))


def _module(*command: str) -> str:
    """Runs a module to its end and returns what it prints."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=contenders.REPO,
        env=contenders.environment(),
    ).stdout


def _watch(data: str, model_dir: pathlib.Path) -> list[tuple[int, int]]:
    """Trains, and returns (step, resident bytes) pairs."""
    total = _WARM_UP.value + _STEPS.value
    params = [
        f'DATA_DIR="{data}"',
        f'train.duration = "{total} steps"',
        f'train.log_every = "{_EVERY.value} steps"',
    ]
    command = [
        *(sys.executable, "-m", "trainer.main"),
        "--gin_file=gin/digits.gin",
        f"--model_dir={model_dir}",
        *(f"--gin_param={param}" for param in params),
    ]
    samples: dict[int, int] = {}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        bar = stack.enter_context(
            tqdm.tqdm(total=total, desc="memory", unit="step")
        )
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=contenders.REPO,
            env=contenders.environment(),
        )
        stack.callback(process.kill)
        memory = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
            step = _last_step(model_dir / "metrics.jsonl")
            if step == bar.n:
                continue
            bar.update(step - bar.n)
            if step >= _WARM_UP.value:
                with contextlib.suppress(psutil.NoSuchProcess):
                    samples[step] = memory.memory_info().rss
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{command}:\n{log.read()[-4000:]}")
    return sorted(samples.items())


def _last_step(metrics: pathlib.Path) -> int:
    """Returns the step of the last whole training line, or 0."""
    if not metrics.exists():
        return 0
    lines = metrics.read_text().rpartition("\n")[0].splitlines()
    steps = [json.loads(x)["step"] for x in lines if '"train"' in x]
    return steps[-1] if steps else 0


def describe_memory(samples: Sequence[tuple[int, int]]) -> str:
    """Returns a table of the samples' ends and slope, and a verdict.

    Args:
        samples: (step, resident bytes) pairs, at least six.
    """
    header = [
        "steps",
        "samples",
        "first",
        "last",
        "slope, KiB a step",
        "verdict",
    ]
    half = len(samples) // 2
    rows = []
    for part in (samples, samples[half:]):
        steps, sizes = zip(*part, strict=True)
        slope = fit_slope(steps, [size / _KIB for size in sizes])
        rows.append(
            [
                f"{steps[0]:,}..{steps[-1]:,}",
                str(len(part)),
                f"{sizes[0] / _MIB:,.1f} MiB",
                f"{sizes[-1] / _MIB:,.1f} MiB",
                f"{slope.value:+.3f} ± {slope.error:.3f}",
                "flat" if slope.flat else "not flat",
            ]
        )
    return tables.markdown(header, rows)


def _starts(data: str) -> str:
    """Starts trainings and returns a table of where the time goes."""
    runs = []
    for _ in tqdm.trange(_STARTS.value, desc="start", unit="start"):
        began = str(time.time())
        runs.append(json.loads(_module("benchmarks.startup", began, data)))
    rows = []
    for name in runs[0]:
        seconds = [run[name] for run in runs]
        rows.append(
            [
                name,
                f"{statistics.median(seconds):.2f}",
                f"{min(seconds):.2f}..{max(seconds):.2f}",
            ]
        )
    return tables.markdown(["stage", "seconds, median", "min..max"], rows)


if __name__ == "__main__":
    app.run(main)
