"""What `input.doctor` has found, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from input import examine, findings, subject

_LINES_SHOWN = 10
_CLASSES_SHOWN = 20


def as_text(
    of: subject.Subject,
    found: examine.Examination,
    told: Sequence[findings.Finding],
) -> str:
    """Returns what a person wants to read first, and where the rest is."""
    total = sum(file.bytes for file in found.files)
    read = sum(found.records)
    lines = [
        f"{of.directory}: {read:,} records in {len(found.files):,} files, "
        f"{total / 1e6:,.1f} MB; {len(found.table):,} examples can be used."
    ]
    for split, facts in _splits(of, found).items():
        lines.append(f"\n{split}: {facts['examples']:,} examples")
        if not facts["examples"]:
            continue
        low, high = (
            "x".join(map(str, reversed(facts[f"{name}_image"])))
            for name in ("smallest", "largest")
        )
        lines += [
            f"  width x height  {low}" + f" to {high}" * (low != high),
            f"  formats         {', '.join(facts['formats'])}",
            f"  channel mean    {_numbers(facts['channel_mean'])}",
            f"  channel std     {_numbers(facts['channel_std'])}",
            *_histogram(facts["label_counts"]),
        ]
    for wrong, title in ((True, "Wrong"), (False, "Worth a look")):
        chosen = [finding for finding in told if finding.wrong == wrong]
        if chosen:
            lines.append(f"\n{title}:")
        for finding in chosen:
            lines.append(f"  {finding.count:,} {finding.kind}")
            shown = finding.lines[:_LINES_SHOWN]
            lines += [f"    {line}" for line in shown]
            if finding.count > len(shown):
                lines.append(f"    and {finding.count - len(shown):,} more")
    if not any(finding.wrong for finding in told):
        lines.append("\nNothing is wrong.")
    return "\n".join(lines)


def as_json(
    of: subject.Subject,
    found: examine.Examination,
    told: Sequence[findings.Finding],
) -> str:
    """Returns all of it; of a finding, at most a thousand lines."""
    content = {
        "directory": of.directory,
        "wrong": any(finding.wrong for finding in told),
        "files": len(found.files),
        "bytes": sum(file.bytes for file in found.files),
        "records": sum(found.records),
        "examples": len(found.table),
        "splits": _splits(of, found),
        "findings": [
            {
                "kind": finding.kind,
                "wrong": finding.wrong,
                "count": finding.count,
                "lines": list(finding.lines),
            }
            for finding in told
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _splits(
    of: subject.Subject, found: examine.Examination
) -> dict[str, dict[str, Any]]:
    """Returns what was found in each split."""
    names = of.info.class_names if of.info else ()
    counts = found.label_counts(len(names))
    channels = of.info.channels if of.info else 3
    facts: dict[str, dict[str, Any]] = {}
    for split, tally in found.tallies.items():
        facts[split] = {"examples": tally.examples}
        if not tally.examples:
            continue
        mean, std = tally.mean_and_std(channels)
        labels = range(len(counts[split]))
        facts[split] |= {
            "smallest_image": tally.smallest,
            "largest_image": tally.largest,
            "formats": sorted(tally.formats),
            "channel_mean": mean,
            "channel_std": std,
            "label_counts": {
                names[i] if names else str(i): int(counts[split][i])
                for i in labels
            },
        }
    return facts


def _histogram(counts: dict[str, int]) -> list[str]:
    """Returns a line for each class; the extremes where they are many."""
    values = np.array(list(counts.values()))
    title = (
        f"  {len(values)} classes       least {values.min():,}, median "
        f"{np.median(values):,.0f}, most {values.max():,}"
    )
    order = sorted(counts, key=lambda name: -counts[name])
    if len(order) <= _CLASSES_SHOWN:
        shown: list[str] = list(counts)
    else:
        half = _CLASSES_SHOWN // 2
        shown = [*order[:half], "", *order[-half:]]
    width = max(map(len, shown))
    return [title] + [
        f"    {name:<{width}} {counts[name]:>10,}"
        if name in counts
        else "    ..."
        for name in shown
    ]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
