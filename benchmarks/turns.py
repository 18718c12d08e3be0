"""Contenders taking turns."""

import sys
from collections.abc import Mapping, Sequence

import tqdm

from benchmarks import contenders

MIN_STEPS = 2


def steps_for(contender: contenders.Contender, seconds: float) -> int:
    """Returns how many steps of a contender take about that long.

    Tries more and more: the first ones may have been prepared in advance.
    """
    steps = MIN_STEPS
    while (taken := contender.run(steps)) < seconds / 4:
        steps *= 2
    return max(MIN_STEPS, round(steps * seconds / taken))


def take(
    crowd: Mapping[str, contenders.Contender],
    rounds: int,
    steps: int,
    title: str,
) -> dict[str, list[float]]:
    """Lets each contender take the steps once in every round.

    The order changes direction from round to round, so that drift of the
    machine cancels.

    Returns:
        By contender, the seconds of a step in each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in crowd}
    turns = tqdm.tqdm(total=rounds * len(crowd), desc=title, unit="turn")
    with turns:
        for number in range(rounds):
            for name in list(crowd)[:: -1 if number % 2 else 1]:
                turns.set_postfix_str(name)
                seconds[name].append(crowd[name].run(steps) / steps)
                turns.update()
    return seconds


def warm_up(crowd: Mapping[str, contenders.Contender], steps: int) -> None:
    """Lets each contender compile and take its first steps."""
    for name, contender in crowd.items():
        say(f"{name}: warming up")
        contender.run(steps)


def say(line: str) -> None:
    """Prints progress where it does not get into the tables."""
    print(line, file=sys.stderr, flush=True)


def same_parameters(parameters: Sequence[int]) -> int:
    """Returns the number of parameters that all contenders have.

    Raises:
        RuntimeError: They do not train the same network.
    """
    if len(set(parameters)) != 1:
        raise RuntimeError(
            f"The contenders have {sorted(set(parameters))} parameters: they "
            "do not train the same network."
        )
    return parameters[0]
