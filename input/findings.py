"""What is wrong with a data set: what was read, held against what should be."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from input import (
    dataset,
    duplicates,
    examine,
    folds,
    frames,
    record_check,
    subject,
    tally,
)

# Lines kept of each finding; all are counted. For its name, each member of a
# set of pictures is read again.
_KEPT = 1000
_SETS_KEPT = 200
_MEMBERS_SHOWN = 4
# Grey levels of 0..255: decoders of different versions round differently.
_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to tell.

    Attributes:
        kind: What it is.
        count: How often it was found.
        lines: Where, in words; not more than a thousand.
        wrong: Whether somebody should do something about it; else it is only
            worth a look.
    """

    kind: str
    count: int
    lines: Sequence[str]
    wrong: bool = True


@dataclasses.dataclass(frozen=True)
class Copies:
    """Pictures that are there more than once.

    Attributes:
        exact: With equal pixels.
        near: That look alike; the exact copies of a picture count as one.
    """

    exact: duplicates.Groups
    near: duplicates.Groups


def copies(table: examine.Table, near_distance: int) -> Copies:
    """Returns the pictures that are there more than once."""
    exact = duplicates.exact(table.pixels)
    firsts = np.ones(len(table), bool)
    firsts[exact.members] = False
    firsts[exact.members[exact.starts[:-1]]] = True
    candidates = np.flatnonzero(firsts & table.comparable)
    return Copies(
        exact, duplicates.near(table.looks, candidates, near_distance)
    )


def of_data(
    of: subject.Subject, found: examine.Examination, copied: Copies
) -> list[Finding]:
    """Returns all that is worth telling, what is wrong first."""
    findings = [
        _listed("dataset.json", of.problems),
        _listed("missing files", of.missing),
        *(
            Finding(kind, found.defects.of_kind(kind), lines)
            for kind, lines in found.defects.lines.items()
        ),
        _listed("files that are not as recorded", [*_changed(found)]),
        _listed(
            "statements of dataset.json that are not true",
            _untrue(of, found) if of.described else (),
        ),
        *_of_exact(of, found, copied.exact),
        *_of_near(of, found, copied.near),
        _listed(
            "classes without an example in a split",
            [*_absent(of, found)],
            wrong=False,
        ),
        _listed("files that belong to no split", of.surplus, wrong=False),
    ]
    told = [finding for finding in findings if finding.count]
    return sorted(told, key=lambda finding: not finding.wrong)


def _listed(kind: str, lines: Sequence[str], wrong: bool = True) -> Finding:
    return Finding(kind, len(lines), lines[:_KEPT], wrong)


def _changed(found: examine.Examination) -> Iterator[str]:
    """Yields how files differ from what was written down of them."""
    for file, records, sha256 in zip(
        found.files, found.records, found.sha256, strict=True
    ):
        recorded = file.recorded
        if recorded is None:
            continue
        if file.bytes != recorded.bytes:
            yield (
                f"{file.name}: {file.bytes:,} bytes, recorded are "
                f"{recorded.bytes:,}"
            )
        elif sha256 != recorded.sha256:
            yield f"{file.name}: its sha256 is not the recorded one"
        if records != recorded.examples:
            yield (
                f"{file.name}: {records:,} records can be reached, recorded "
                f"are {recorded.examples:,}"
            )


def _untrue(of: subject.Subject, found: examine.Examination) -> list[str]:
    """Returns what dataset.json says and was not found so.

    What was not read in full says nothing about counts and means.
    """
    info = of.info
    if info is None:
        return []
    lines = []
    computed = dataset.fingerprint(info.splits, info.class_names)
    if computed != info.fingerprint:
        lines.append(
            f"fingerprint is {info.fingerprint}; of the shards and class names "
            f"that it lists, it is {computed}"
        )
    whole = [
        split
        for split in info.splits
        if not found.defects.of_split(split)
        and split in found.tallies
        and info.examples(split) == found.tallies[split].examples > 0
    ]
    counts = found.label_counts(info.num_classes)
    for split in whole:
        for label in np.flatnonzero(counts[split] != info.label_counts[split]):
            lines.append(
                f"label_counts of split {split!r}, class {label} "
                f"({info.class_names[label]}): "
                f"{info.label_counts[split][label]:,}, found are "
                f"{counts[split][label]:,}"
            )
    counted = folds.names(info) or ["train"]
    if set(counted) <= set(whole):
        pixels = tally.Tally.empty(info.num_classes)
        for split in counted:
            pixels.merge(found.tallies[split])
        moments = pixels.mean_and_std(info.channels)
        for name, value in zip(
            ("channel_mean", "channel_std"), moments, strict=True
        ):
            stated = getattr(info, name)
            if not np.allclose(stated, value, rtol=0, atol=_TOLERANCE):
                lines.append(f"{name} is {stated}, found is {value}")
    if len(whole) == len(info.splits):
        lines += _untrue_sizes(info, found)
    return lines


def _untrue_sizes(
    info: dataset.DatasetInfo, found: examine.Examination
) -> Iterator[str]:
    tallies = found.tallies.values()
    least, greatest = (
        tuple(
            int(v) for v in choose([getattr(t, name) for t in tallies], axis=0)
        )
        for choose, name in ((np.min, "smallest"), (np.max, "largest"))
    )
    shape = (*least, info.channels) if least == greatest else None
    for name, stated, value in (
        ("image_shape", info.image_shape, shape),
        ("smallest_image", info.smallest_image, least),
        ("largest_image", info.largest_image, greatest),
    ):
        # Not all that write dataset.json know the last two.
        if stated != value and (stated is not None or name == "image_shape"):
            yield f"{name} is {stated}, found is {value}"


def _of_exact(
    of: subject.Subject, found: examine.Examination, groups: duplicates.Groups
) -> Iterator[Finding]:
    inside, across = _by_splits(found, groups)
    yield _grouped("copies inside a split", inside, of, found)
    yield _grouped("copies across splits (leakage)", across, of, found)
    table = found.table
    disagreeing = [
        group
        for group in groups
        if (table.label[group] != table.label[group[0]]).any()
    ]
    yield _grouped("copies with different labels", disagreeing, of, found)


def _of_near(
    of: subject.Subject, found: examine.Examination, groups: duplicates.Groups
) -> Iterator[Finding]:
    inside, across = _by_splits(found, groups)
    for kind, chosen in (
        ("sets of pictures that look alike, inside a split", inside),
        ("sets of pictures that look alike, across splits", across),
    ):
        yield _grouped(kind, chosen, of, found, wrong=False)


def _by_splits(
    found: examine.Examination, groups: duplicates.Groups
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the groups inside one split, and those across several."""
    splits = [file.split for file in found.files]
    inside: list[np.ndarray] = []
    across: list[np.ndarray] = []
    for group in groups:
        one = len({splits[i] for i in found.table.file[group]}) == 1
        (inside if one else across).append(group)
    return inside, across


def _grouped(
    kind: str,
    groups: Sequence[np.ndarray],
    of: subject.Subject,
    found: examine.Examination,
    wrong: bool = True,
) -> Finding:
    lines = []
    for group in itertools.islice(groups, _SETS_KEPT):
        shown = [name(of, found, i) for i in group[:_MEMBERS_SHOWN]]
        if len(group) > len(shown):
            shown.append(f"and {len(group) - len(shown):,} more")
        same = found.table.encoded[group]
        how = " (not byte for byte)" if (same != same[0]).any() else ""
        lines.append((" = " if wrong else " ~ ").join(shown) + how * wrong)
    return Finding(kind, len(groups), lines, wrong)


def name(of: subject.Subject, found: examine.Examination, example: int) -> str:
    """Returns what to call an example: file, offset, name and label."""
    table = found.table
    file = found.files[table.file[example]]
    offset, label = int(table.offset[example]), table.label[example]
    called = read(of, found, example)[1]
    labels = np.flatnonzero(label) if label.ndim else [int(label)]
    names = of.info.class_names if of.info is not None else None
    label_name = "|".join(names[i] if names else str(i) for i in labels)
    return (
        f"{file.name}@{offset:,} [{called or 'no name'}, "
        f"{label_name or 'no class'}]"
    )


def read(
    of: subject.Subject, found: examine.Examination, example: int
) -> tuple[bytes, str]:
    """Reads an example again; returns its encoded image and its name."""
    file = found.files[found.table.file[example]]
    offset = int(found.table.offset[example])
    try:
        stretch = frames.read(
            file.path, size=file.bytes, offset=offset, count=1
        )
    except tf.errors.OpError:
        return b"", ""
    record = stretch.frames[0].record if stretch.frames else None
    parsed = record_check.parse(record or b"", of.fields)
    if parsed is None:
        return b"", ""
    return parsed.encoded, parsed.name.decode(errors="replace")


def _absent(of: subject.Subject, found: examine.Examination) -> Iterator[str]:
    if of.info is None:
        return
    for split, counts in found.label_counts(of.info.num_classes).items():
        for label in np.flatnonzero(counts == 0):
            yield f"{split}: {of.info.class_names[label]}"
