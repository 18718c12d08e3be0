"""Measures the input pipeline against JPEG decoders and other pipelines.

    python -m benchmarks.input
    python -m benchmarks.input --cases=small --peers=full --rounds=9

Writes data sets of real photos to a temporary folder and reads them, in turns
within one run, each contender in a process of its own on all cores: JPEGs to
batches of uint8 (random crop to 224 pixels, flip), and records without
decoding. Then follows the memory over an epoch. The files are in the page
cache. Prints Markdown. Close other programs first; a run with the defaults
takes about 20 minutes.
"""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import tqdm
from absl import app, flags

from benchmarks import contenders, input_cases, memory, tables, turns

# Until tf.data has settled on the number of its threads.
_WARM_UP_STEPS = 8
_SAMPLES = 60

_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Turns of each contender.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    10.0,
    "Length of a turn of Lockstep in seconds; the others read as much.",
    lower_bound=0.0,
)
_CHOSEN = flags.DEFINE_list(
    "cases",
    ["small", "light", "large", "records"],
    "What to read. "
    + "; ".join(f"{name}: {c.title}" for name, c in input_cases.CASES.items())
    + ".",
)
_PEERS = flags.DEFINE_list(
    "peers",
    [
        name
        for name in input_cases.TITLES
        if name not in ("lockstep", "records")
    ],
    "Whom to compare with, where the case knows them. "
    + "; ".join(
        f"{name}: {title}" for name, title in input_cases.TITLES.items()
    )
    + ".",
)
_MEMORY = flags.DEFINE_boolean(
    "memory",
    True,
    "Whether to follow the memory over an epoch of the first case, after one "
    "to warm up.",
)
_PYTHONS = {
    "torchvision": flags.DEFINE_string(
        "torch_python",
        None,
        "Path of the Python interpreter that has PyTorch and torchvision; by "
        "default the one that runs this, where the extra `bench` installs "
        "them.",
    ),
    "dali": flags.DEFINE_string(
        "dali_python",
        None,
        "Path of a Python interpreter that has NVIDIA DALI; by default the "
        "one that runs this.",
    ),
}
_NEEDS = {"torchvision": "torchvision", "dali": "nvidia.dali"}

flags.register_validator(
    "cases",
    lambda names: bool(names) and set(names) <= input_cases.CASES.keys(),
    f"must be some of {', '.join(input_cases.CASES)}, separated by commas.",
)
flags.register_validator(
    "peers",
    lambda names: set(names) <= input_cases.TITLES.keys(),
    f"must be some of {', '.join(input_cases.TITLES)}, separated by commas.",
)


def main(arguments: Sequence[str]) -> None:
    """Measures all cases and prints their tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    versions: set[str] = set()
    cases = [input_cases.CASES[name] for name in _CHOSEN.value]
    reports = [_measure(case, versions) for case in cases]
    if _MEMORY.value:
        reports.append(_watch(cases[0]))
    print(conditions)
    print(f"- {'; '.join(sorted(versions))}")
    print("\n" + "\n\n".join(reports))


def _measure(case: input_cases.Case, versions: set[str]) -> str:
    """Returns the tables of a case; adds the versions it has met."""
    names = [case.ours, *(p for p in case.peers if p in _PEERS.value)]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        case.photos.write(pathlib.Path(folder))
        crowd: dict[str, contenders.Worker] = {}
        for name in names:
            if worker := _start(name, folder, case.batch):
                stack.callback(worker.close)
                crowd[name] = worker
        for name, worker in crowd.items():
            turns.say(f"{name}: warming up")
            worker.wait_ready()
            worker.run(_WARM_UP_STEPS)
        versions |= {worker.version for worker in crowd.values()}
        steps = turns.steps_for(crowd[case.ours], _SECONDS.value)
        seconds = turns.take(crowd, _ROUNDS.value, steps, case.title)
        size = _mean_size(pathlib.Path(folder))
    # A step of `records` and of `cat` is a pass over all files.
    images = case.photos.total if case.ours == "records" else case.batch
    titles = {name: input_cases.TITLES[name] for name in names}
    pairs = [(case.ours, name) for name in names[1:] if name in seconds]
    return "\n\n".join(
        [
            f"### {case.title}",
            f"{case.photos.total:,} records of {size / 1000:,.0f} kB; "
            f"{_ROUNDS.value} rounds of {steps} steps of {images:,} images.",
            tables.speeds(seconds, titles, images),
            tables.comparisons(seconds, titles, pairs, case.aims),
        ]
    )


def _start(name: str, folder: str, batch: int) -> contenders.Worker | None:
    """Starts a contender; None where its packages are missing."""
    python, module = sys.executable, "benchmarks.input_contenders"
    arguments = [folder, str(batch)]
    if name not in _NEEDS:
        return contenders.Worker([python, "-m", module, name, *arguments])
    python = _PYTHONS[name].value or python
    found = subprocess.run(
        [python, "-c", f"import {_NEEDS[name]}"],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if found.returncode:
        return None
    module = f"benchmarks.{name}_contender"
    return contenders.Worker([python, "-m", module, *arguments])


def _mean_size(folder: pathlib.Path) -> float:
    """Returns the mean bytes of a picture."""
    sizes = [path.stat().st_size for path in folder.glob("files/*/*")]
    return sum(sizes) / len(sizes)


def _watch(case: input_cases.Case) -> str:
    """Reads a case and returns a table of the memory of the process."""
    steps = max(1, round(case.photos.total / case.batch / _SAMPLES))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        case.photos.write(pathlib.Path(folder))
        worker = _start(case.ours, folder, case.batch)
        if worker is None:
            raise RuntimeError(f"{case.ours} did not start.")
        stack.callback(worker.close)
        worker.wait_ready()
        worker.run(steps * _SAMPLES)
        samples = []
        for number in tqdm.trange(1, _SAMPLES + 1, desc="memory"):
            worker.run(steps)
            samples.append((number * steps, worker.resident_bytes))
    return (
        f"### Resident size, {case.title}\n\n{case.photos.total:,} records, "
        f"batches of {case.batch}.\n\n{memory.describe_memory(samples)}"
    )


if __name__ == "__main__":
    app.run(main)
