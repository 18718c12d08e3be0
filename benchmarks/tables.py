"""Numbers of a benchmark as Markdown."""

import datetime
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence

Seconds = Mapping[str, Sequence[float]]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; all columns but the first are right-aligned."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    lines = [header, rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratios(seconds: Seconds, ours: str, theirs: str) -> list[float]:
    """Returns, for each round, how many times as fast `ours` was.

    Args:
        seconds: By contender, the seconds of each round for the same work.
        ours: The faster one, it is hoped.
        theirs: The other.
    """
    pairs = zip(seconds[ours], seconds[theirs], strict=True)
    return [b / a for a, b in pairs]


def speeds(seconds: Seconds, titles: Mapping[str, str], batch: int) -> str:
    """Returns a table of contenders.

    Args:
        seconds: By contender, the seconds a step took in each round.
        titles: What to call the contenders, also those without seconds: they
            are reported as not installed.
        batch: Images in a step.
    """
    rows = []
    for name, title in titles.items():
        if name not in seconds:
            rows.append([title, "not installed", "", ""])
            continue
        rates = [batch / s for s in seconds[name]]
        rows.append(
            [
                title,
                f"{1000 * statistics.median(seconds[name]):,.1f}",
                f"{statistics.median(rates):,.1f}",
                _range(rates, ",.1f"),
            ]
        )
    header = ["contender", "ms a step", "images/s", "min..max of rounds"]
    return markdown(header, rows)


def comparisons(
    seconds: Seconds,
    titles: Mapping[str, str],
    pairs: Iterable[tuple[str, str]],
    aims: Mapping[str, float],
) -> str:
    """Returns a table of the ratios of images/s.

    Args:
        seconds: As for `speeds`.
        titles: As for `speeds`.
        pairs: Names of who is compared with whom.
        aims: Least ratio, by the second name.
    """
    rows = []
    for ours, theirs in pairs:
        found = ratios(seconds, ours, theirs)
        aim = aims.get(theirs)
        rows.append(
            [
                f"{titles[ours]} / {titles[theirs]}",
                f"{statistics.median(found):.3f}",
                _range(found, ".3f"),
                "" if aim is None else f"{aim:.2f}",
            ]
        )
    header = ["ratio of images/s", "median", "min..max of rounds", "aim"]
    return markdown(header, rows)


def _range(values: Sequence[float], style: str) -> str:
    return f"{min(values):{style}}..{max(values):{style}}"


def conditions() -> str:
    """Returns how, when and where something is measured: a Markdown list.

    To be called before the measurement, which adds to the load.
    """
    module = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    command = " ".join(["python -m", f"benchmarks.{module}", *sys.argv[1:]])
    now = datetime.datetime.now().astimezone()
    load = os.getloadavg()[0]
    return "\n".join(
        [
            f"- `{command}`",
            f"- {now:%Y-%m-%d %H:%M %Z}; load average {load:.2f} before",
            f"- {_processor()}, {len(os.sched_getaffinity(0))} cores; "
            f"Python {platform.python_version()}",
        ]
    )


def _processor() -> str:
    """Returns the name of the processor as Linux gives it."""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
