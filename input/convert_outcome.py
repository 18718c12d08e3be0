"""What came of a conversion: the unreadable images and dataset.json."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from absl import logging

from input import dataset
from input.errors import DataError
from input.record_writer import Change, ShardResult
from input.tally import Tally

_UNREADABLE_IN_MESSAGE = 200
_CLASSES_IN_LOG = 20


def checked_unreadable(
    results: Sequence[ShardResult], allowed: int
) -> tuple[str, ...]:
    """Returns "path: reason" of all unreadable images, sorted.

    Raises:
        DataError: They are more than allowed.
    """
    unreadable = sorted(line for r in results for line in r.unreadable)
    if not unreadable:
        return ()
    total = len(unreadable) + sum(r.shard.examples for r in results)
    lines = unreadable[:_UNREADABLE_IN_MESSAGE]
    if len(unreadable) > len(lines):
        lines.append(f"and {len(unreadable) - len(lines):,} more")
    text = (
        f"{len(unreadable):,} of {total:,} images cannot be read:\n  "
        + "\n  ".join(lines)
    )
    if len(unreadable) > allowed:
        raise DataError(
            f"{text}\nRepair or delete them, or leave them out with "
            f"--allow_unreadable={len(unreadable)}."
        )
    logging.warning("%s\nThey are left out.", text)
    return tuple(unreadable)


def changes(results: Sequence[ShardResult]) -> dict[str, Change]:
    """Returns what was stored otherwise than found, the most frequent first."""
    total: dict[str, Change] = {}
    for result in results:
        for what, change in result.changes.items():
            total[what] = total.get(what, Change()).plus(change)
    return dict(sorted(total.items(), key=lambda item: (-item[1][0], item[0])))


def without_empty(
    results: Sequence[ShardResult], place: str
) -> dict[str, list[ShardResult]]:
    """Removes shards of which all images were unreadable; numbers the rest."""
    splits: dict[str, list[ShardResult]] = {}
    for result in results:
        kept = splits.setdefault(result.split, [])
        if result.shard.examples:
            kept.append(result)
        else:
            os.remove(os.path.join(place, result.shard.file))
    for split, kept in splits.items():
        if not kept:
            raise DataError(f"split={split!r}: all images are unreadable.")
        for i, result in enumerate(kept):
            name = dataset.shard_name(split, i, len(kept))
            old = os.path.join(place, result.shard.file)
            os.rename(old, os.path.join(place, name))
            shard = dataclasses.replace(result.shard, file=name)
            kept[i] = dataclasses.replace(result, shard=shard)
    return splits


def describe(
    results: Mapping[str, Sequence[ShardResult]],
    class_names: tuple[str, ...],
    *,
    multi_label: bool = False,
    slice_columns: Mapping[str, tuple[str, ...]] | None = None,
) -> dataset.DatasetInfo:
    """Makes dataset.json's contents of what was written."""
    everything = Tally.empty(len(class_names))
    label_counts = {}
    for split, shards in results.items():
        tally = Tally.empty(len(class_names))
        for result in shards:
            tally.merge(result.tally)
        everything.merge(tally)
        label_counts[split] = tuple(int(n) for n in tally.label_counts)
    channels = max(everything.channels)
    mean, std = everything.mean_and_std(channels)
    smallest, largest = everything.smallest, everything.largest
    same = smallest is not None and smallest == largest
    splits = {
        s: tuple(r.shard for r in shards) for s, shards in results.items()
    }
    return dataset.DatasetInfo(
        splits=splits,
        class_names=class_names,
        image_shape=(*smallest, channels) if same and smallest else None,
        channel_mean=mean,
        channel_std=std,
        fingerprint=dataset.fingerprint(splits, class_names),
        label_counts=label_counts,
        image_format=(
            "mixed"
            if len(everything.formats) > 1
            else next(iter(everything.formats))
        ),
        smallest_image=smallest,
        largest_image=largest,
        multi_label=multi_label,
        slice_columns=slice_columns or {},
    )


def warn_of_absent_classes(info: dataset.DatasetInfo) -> None:
    """Logs a warning for each split without an example of some class."""
    for split, counts in info.label_counts.items():
        absent = [
            name
            for name, n in zip(info.class_names, counts, strict=True)
            if n == 0
        ]
        if absent:
            logging.warning(
                "split=%r has no image of %d of the %d classes: %s. Give it a "
                "larger fraction with --split, or add images.",
                split,
                len(absent),
                info.num_classes,
                ", ".join(absent[:_CLASSES_IN_LOG]),
            )
