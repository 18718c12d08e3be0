"""The tables of benchmarks.saving."""

import statistics

import numpy as np

from benchmarks import tables

NONE, LOCKSTEP = "no saving", "Lockstep, beside training"
IN_TURN = "the same files, training waits"
FIT, BACKUP = "model.fit, no saving", "model.fit, BackupAndRestore"
_RATIOS = ((LOCKSTEP, NONE), (IN_TURN, NONE), (BACKUP, FIT))


def report(seconds: dict[str, list[list[float]]]) -> str:
    """Returns the tables of the seconds of all steps, by contender and turn."""
    rows = []
    for name, rounds in seconds.items():
        steps = [1000 * s for turn in rounds for s in turn]
        rows.append(
            [
                name,
                f"{statistics.median(steps):,.1f}",
                f"{np.percentile(steps, 99):,.1f}",
                f"{max(steps):,.1f}",
                f"{statistics.mean(steps):,.1f}",
            ]
        )
    header = ["step", "median, ms", "p99, ms", "max, ms", "mean, ms"]
    ratios = []
    for ours, theirs in _RATIOS:
        p99, mean = (
            [
                float(measure(a) / measure(b))
                for a, b in zip(seconds[ours], seconds[theirs], strict=True)
            ]
            for measure in (lambda turn: np.percentile(turn, 99), np.mean)
        )
        ratios.append(
            [
                f"{ours} / {theirs}",
                f"{statistics.median(p99):.3f}",
                f"{min(p99):.3f}..{max(p99):.3f}",
                f"{statistics.median(mean):.3f}",
            ]
        )
    second = ["ratio of times", "p99, median", "min..max of rounds", "mean"]
    return (
        tables.markdown(header, rows) + "\n\n" + tables.markdown(second, ratios)
    )
