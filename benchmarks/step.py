"""Measures a training step against its peers, side by side in one run.

    python -m benchmarks.step
    python -m benchmarks.step --cases=resnet20 --peers=torch,bare --rounds=3

Every contender is a process of its own on all cores. They take turns, in
changing direction, so that drift of the machine cancels: each ratio is the
median of the ratios within a round. Prints Markdown. Close other programs
first; a run with the defaults takes about 20 minutes.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence

from absl import app, flags

from benchmarks import cases, contenders, tables, turns

_US = "lockstep"
_PEERS = {
    "fit": "Keras fit, default",
    "fit_no_jit": "Keras fit, jit_compile=False",
    "bare": "bare loop, same model",
    "torch": "PyTorch eager, channels_last",
    "main": "Lockstep, trainer.main",
    "jit": "Lockstep, train.jit_compile=True",
}
_TITLES = {_US: "Lockstep"} | _PEERS

# Compilation, and the first steps of tf.data's tuning.
_WARM_UP_STEPS = 10

_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Turns of each contender.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    12.0,
    "Length of a turn of Lockstep in seconds; the others take as many steps.",
    lower_bound=0.0,
)
_CASES = flags.DEFINE_list(
    "cases",
    ["resnet20", "resnet18"],
    "What to train. "
    + "; ".join(f"{name}: {c.title}" for name, c in cases.CASES.items())
    + ".",
)
_CHOSEN_PEERS = flags.DEFINE_list(
    "peers",
    list(_PEERS),
    "Whom to compare with. "
    + "; ".join(f"{name}: {title}" for name, title in _PEERS.items())
    + " as a whole process, compared with the bare loop.",
)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python",
    None,
    "Path of the Python interpreter that has PyTorch; by default the one that "
    "runs this, where the extra `bench` installs it.",
)


def _must_be_among(flag: str, known: Sequence[str]) -> None:
    flags.register_validator(
        flag,
        lambda names: bool(names) and set(names) <= set(known),
        f"must be some of {', '.join(known)}, separated by commas.",
    )


_must_be_among("cases", list(cases.CASES))
_must_be_among("peers", list(_PEERS))


def main(arguments: Sequence[str]) -> None:
    """Measures all cases and prints their tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    versions: set[str] = set()
    reports = [_measure(name, versions) for name in _CASES.value]
    print(conditions)
    print(f"- {'; '.join(sorted(versions))}")
    print("\n" + "\n\n".join(reports))


def _measure(name: str, versions: set[str]) -> str:
    """Returns the tables of a case; adds the versions it has met."""
    case = cases.CASES[name]
    names = [_US, *(p for p in _PEERS if p in _CHOSEN_PEERS.value)]
    with contextlib.ExitStack() as stack:
        turns.say(f"{case.title}: starting {', '.join(names)}")
        crowd = _start(names, name)
        for contender in crowd.values():
            stack.callback(contender.close)
        versions |= _warm_up(crowd)
        steps = turns.steps_for(crowd[_US], _SECONDS.value)
        per_step = turns.take(crowd, _ROUNDS.value, steps, case.title)
    titles = {n: _TITLES[n] for n in names}
    pairs = [
        ("main", "bare") if n == "main" else (_US, n) for n in names if n != _US
    ]
    pairs = [p for p in pairs if set(p) <= per_step.keys()]
    return "\n\n".join(
        [
            f"### {case.title}",
            f"{_ROUNDS.value} rounds of {steps} steps.",
            tables.speeds(per_step, titles, case.batch),
            tables.comparisons(per_step, titles, pairs, case.aims),
        ]
    )


def _start(names: Sequence[str], case: str) -> dict[str, contenders.Contender]:
    """Returns the contenders that are installed, in order of `names`."""
    crowd: dict[str, contenders.Contender] = {}
    for name in names:
        if name == "main":
            crowd[name] = contenders.TrainerMain(cases.CASES[case])
        elif name != "torch":
            crowd[name] = contenders.tf_worker(name, case)
        else:
            python = _TORCH_PYTHON.value or sys.executable
            if worker := contenders.torch_worker(case, python):
                crowd[name] = worker
    return crowd


def _warm_up(crowd: Mapping[str, contenders.Contender]) -> set[str]:
    """Compiles all steps, one after the other; returns the versions.

    Raises:
        RuntimeError: The contenders do not train the same network.
    """
    workers = {
        name: contender
        for name, contender in crowd.items()
        if isinstance(contender, contenders.Worker)
    }
    for name, worker in workers.items():
        worker.wait_ready()
        turns.say(f"{name}: {worker.parameters:,} parameters; warming up")
        worker.run(_WARM_UP_STEPS)
    turns.same_parameters([w.parameters for w in workers.values()])
    return {worker.version for worker in workers.values()}


if __name__ == "__main__":
    app.run(main)
