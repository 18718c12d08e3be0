"""Measures what exactness costs: Lockstep's step against Keras's own.

    python -m benchmarks.exactness

On `mirrored`, the CPU as two devices: Lockstep sums the gradients first, then
unscales, checks, clips and updates, all replicas alike. Keras's optimizer clips
first and sums in `apply` (../docs/architecture.md says what that breaks). Both
train the same model; each in a process of its own on all cores, in turns. Each
ratio is the median of the ratios within a round. Prints Markdown. Close other
programs first; a run with the defaults takes about 5 minutes.
"""

import contextlib
import sys
from collections.abc import Sequence

from absl import app, flags

from benchmarks import cases, contenders, tables, turns

_ROUNDS = flags.DEFINE_integer(
    "rounds", 9, "Turns of each contender.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    12.0,
    "Length of a turn of Lockstep in seconds; Keras takes as many steps.",
    lower_bound=0.0,
)
_CASE = flags.DEFINE_enum(
    "case", "resnet20", list(cases.CASES), "What to train."
)

_TITLES = {
    "lockstep": "Lockstep, mirrored, 2 CPU devices",
    "keras": "Keras optimizer.apply, mirrored, 2 CPU devices",
}
_AIMS = {"keras": 1.0}
_WARM_UP_STEPS = 10


def main(arguments: Sequence[str]) -> None:
    """Measures and prints the tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions, case = tables.conditions(), cases.CASES[_CASE.value]
    module = "benchmarks.exactness_contenders"
    with contextlib.ExitStack() as stack:
        crowd = {}
        for name in _TITLES:
            turns.say(f"starting {name}")
            crowd[name] = contenders.Worker(
                [sys.executable, "-m", module, name, _CASE.value]
            )
            stack.callback(crowd[name].close)
            crowd[name].wait_ready()
        turns.same_parameters([worker.parameters for worker in crowd.values()])
        turns.warm_up(crowd, _WARM_UP_STEPS)
        steps = turns.steps_for(crowd["lockstep"], _SECONDS.value)
        seconds = turns.take(crowd, _ROUNDS.value, steps, case.title)
        versions = "; ".join(worker.version for worker in crowd.values())
    print(f"{conditions}\n- {versions}\n\n### {case.title}\n")
    print(f"{_ROUNDS.value} rounds of {steps} steps.\n")
    print(tables.speeds(seconds, _TITLES, case.batch) + "\n")
    pairs = [("lockstep", "keras")]
    print(tables.comparisons(seconds, _TITLES, pairs, _AIMS))


if __name__ == "__main__":
    app.run(main)
