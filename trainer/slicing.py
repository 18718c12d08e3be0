"""How good a network is on parts of a split: by camera, site, group.

A mean over all examples hides a part on which the network fails. Source:
Buolamwini and Gebru, "Gender Shades", 2018; the least accuracy of any group as
a measure: Sagawa et al. 2019, arXiv:1911.08731.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from input import slices
from trainer import predictions, results, scoring


def of_slices(
    found: predictions.Predictions,
    columns: Mapping[str, slices.Codes],
    score: Callable[[predictions.Predictions], scoring.Scores],
) -> Iterator[results.SliceResult]:
    """Yields the metrics of each slice that has examples.

    Args:
        found: Of the split.
        columns: Where each example belongs.
        score: Metrics of predictions.
    """
    for column, codes in columns.items():
        for number, value in enumerate(codes.values):
            rows = codes.numbers == number
            if not rows.any():
                continue
            part = found.take(rows)
            yield results.SliceResult(
                column=column,
                value=value,
                examples=len(part.rank),
                correct=int((part.rank == 0).sum()),
                metrics=score(part).metrics,
            )


def metric_names(columns: Sequence[str]) -> list[str]:
    """Returns the metrics that tell how the slices of columns compare."""
    return [
        f"slice/{column}/{what}"
        for column in columns
        for what in ("worst_accuracy", "accuracy_gap")
    ]


def summary(found: Sequence[results.SliceResult]) -> dict[str, float]:
    """Returns what of the slices goes to metrics.jsonl, under flat names.

    Of each slice `examples`, `accuracy` and the ends of its 95 % interval; of
    each column the least accuracy of a slice, and the gap between the most
    and the least. Small slices count: their intervals say how far.
    """
    values: dict[str, float] = {}
    by_column: dict[str, list[float]] = {}
    for part in found:
        name = f"slice/{part.column}/{part.value}"
        low, high = part.interval
        values |= {
            f"{name}/examples": part.examples,
            f"{name}/accuracy": part.accuracy,
            f"{name}/accuracy_low": low,
            f"{name}/accuracy_high": high,
        }
        by_column.setdefault(part.column, []).append(part.accuracy)
    for column, accuracies in by_column.items():
        worst, gap = metric_names([column])
        values |= {
            worst: min(accuracies),
            gap: max(accuracies) - min(accuracies),
        }
    return values
