"""Lists of hosts and tasks in Slurm's notation."""

import re

_RANGE = re.compile(r"(\d+)(?:-(\d+))?$")
_TASKS = re.compile(r"([1-9]\d*)(?:\(x([1-9]\d*)\))?$")


def expand(text: str) -> list[str]:
    """Returns the hosts of a list such as "gpu[08-10,12],login1".

    Brackets hold numbers and ranges, both ends of which count; a number keeps
    its leading zeros. A host may have several brackets.

    Raises:
        ValueError: The list is empty or malformed.
    """
    hosts = [host for item in _split(text) for host in _expand_item(item, text)]
    if not all(hosts):
        raise ValueError(
            f"{text!r} is not a list of hosts: one of them is empty. Write "
            'something like "gpu[01-04],login1".'
        )
    return hosts


def _split(text: str) -> list[str]:
    """Splits at the commas that are not in brackets."""
    return re.split(r",(?![^\[]*\])", text)


def _expand_item(item: str, text: str) -> list[str]:
    before, bracket, rest = item.partition("[")
    if not bracket:
        if "]" in item:
            raise ValueError(f"{text!r} has a ']' without its '['.")
        return [item]
    inside, closed, after = rest.partition("]")
    if not closed:
        raise ValueError(f"{text!r} has a '[' without its ']'.")
    numbers = [n for part in inside.split(",") for n in _numbers(part, text)]
    ends = _expand_item(after, text)
    return [before + number + end for number in numbers for end in ends]


def _numbers(part: str, text: str) -> list[str]:
    found = _RANGE.match(part)
    if not found:
        raise ValueError(
            f"{text!r} has {part!r} in brackets, which is no number or range "
            "of numbers, such as 01-04."
        )
    low, high = found[1], found[2] or found[1]
    if int(high) < int(low):
        raise ValueError(f"{text!r} has a range that ends before it begins.")
    return [f"{n:0{len(low)}d}" for n in range(int(low), int(high) + 1)]


def tasks_per_node(text: str) -> list[int]:
    """Returns the numbers of a list such as "4(x2),1": 4, 4 and 1.

    Raises:
        ValueError: The list is malformed.
    """
    counts: list[int] = []
    for item in text.split(","):
        found = _TASKS.match(item)
        if not found:
            raise ValueError(
                f"{text!r} is not a list of tasks per node, such as "
                f'"4(x2),1": {item!r} is no number above 0.'
            )
        counts += [int(found[1])] * int(found[2] or 1)
    return counts
