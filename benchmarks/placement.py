"""Measures RandAugment and mixup on the device against both on the host.

    python -m benchmarks.placement

Trains ResNet-18 at 224 pixels on made-up images, end to end, in turns within
one run, each contender in a process of its own on all cores. On a machine
without an accelerator the device is the host: what is compared is then the work
alone. Prints Markdown.
"""

import contextlib
import sys
from collections.abc import Sequence

from absl import app, flags

from benchmarks import cases, contenders, tables, turns

_TITLES = {
    "device": "in the step, as Lockstep does it",
    "host": "in tf.data with Pillow",
    "neither": "neither of them",
}

_CASE = flags.DEFINE_enum(
    "case", "resnet18", list(cases.CASES), "What to train."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Turns of each contender.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "Length of a turn in the step.", lower_bound=0.0
)


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    case = cases.CASES[_CASE.value]
    module = "benchmarks.placement_contender"
    with contextlib.ExitStack() as stack:
        crowd: dict[str, contenders.Worker] = {}
        for name in _TITLES:
            worker = contenders.Worker(
                [sys.executable, "-m", module, name, _CASE.value]
            )
            stack.callback(worker.close)
            crowd[name] = worker
        for worker in crowd.values():
            worker.wait_ready()
        turns.warm_up(crowd, turns.MIN_STEPS)
        steps = turns.steps_for(crowd["device"], _SECONDS.value)
        seconds = turns.take(crowd, _ROUNDS.value, steps, case.title)
        versions = {worker.version for worker in crowd.values()}
    print(conditions)
    print(f"- {'; '.join(sorted(versions))}")
    print(
        f"\n### RandAugment and mixup, {case.title}\n\n"
        f"{_ROUNDS.value} rounds of {steps} steps.\n\n"
        + tables.speeds(seconds, _TITLES, case.batch)
        + "\n\n"
        + tables.comparisons(
            seconds, _TITLES, [("device", "host"), ("device", "neither")], {}
        )
    )


if __name__ == "__main__":
    app.run(main)
