"""A data set again, without what `input.doctor` has found to be wrong.

Left out are records that training cannot use, and all but one of exact copies.
The copy that stays is the one of the split furthest from training: of `test`
before that of any other split, of `train` last, so that an evaluation keeps its
pictures. Where copies within `train` have different labels, none stays: nobody
knows which is right.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

from input import (
    convert_outcome,
    convert_sources,
    dataset,
    duplicates,
    errors,
    examine,
    folds,
    frames,
    gcs,
    record_check,
    record_writer,
    remote,
    sources,
    staging,
    subject,
    transcode,
)
from input.progress import progress


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept(convert_sources.Picture):
    """A picture that stays, in memory: `encoded` are its bytes."""

    encoded: bytes = b""

    def read(self) -> bytes:
        """Returns the encoded image."""
        return self.encoded


@dataclasses.dataclass(frozen=True)
class _Pictures(Sequence[convert_sources.Picture]):
    """The pictures of a file that stay, each read when it is asked for.

    Attributes:
        file: The file.
        fields: Where in a record things are.
        offsets: int64, where the records begin.
    """

    file: examine.File
    fields: sources.Fields
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> convert_sources.Picture: ...

    @overload
    def __getitem__(
        self, index: slice
    ) -> Sequence[convert_sources.Picture]: ...

    def __getitem__(
        self, index: int | slice
    ) -> convert_sources.Picture | Sequence[convert_sources.Picture]:
        """Reads a record; OSError if the file has changed meanwhile."""
        if isinstance(index, slice):
            return dataclasses.replace(self, offsets=self.offsets[index])
        file, offset = self.file, int(self.offsets[index])
        stretch = frames.read(
            file.path, size=file.bytes, offset=offset, count=1
        )
        record = stretch.frames[0].record if stretch.frames else None
        parsed = record_check.parse(record or b"", self.fields)
        if parsed is None:
            raise OSError(f"{file.path} has changed at byte {offset:,}")
        encoded = parsed.encoded
        labels = parsed.labels
        return _Kept(
            os.fsdecode(parsed.name),
            labels if self.fields.multi_label else labels[0],
            len(encoded),
            file.path,
            parsed.slices,
            encoded=encoded,
        )


def kept(found: examine.Examination, exact: duplicates.Groups) -> np.ndarray:
    """Returns which examples stay: bool, for each row of the table."""
    table = found.table
    stays = np.ones(len(table), bool)
    stays[exact.members] = False
    ranks = np.array([_rank(file.split) for file in found.files])
    for group in exact:
        own = ranks[table.file[group]]
        best = int(np.argmin(own))
        labels = table.label[group]
        if own[best] < _rank("train") or (labels == labels[0]).all():
            stays[group[best]] = True
    return stays


def _rank(split: str) -> int:
    return {"test": 0, "train": 2}.get(split, 1)


def write(
    of: subject.Subject,
    found: examine.Examination,
    exact: duplicates.Groups,
    output: str,
    *,
    overwrite: bool,
    workers: int,
) -> dataset.DatasetInfo:
    """Writes the examples that stay, each to a file like the one it was in.

    The output appears when it is complete, or not at all.

    Args:
        of: What was examined.
        found: What was found in it.
        exact: The exact copies in it.
        output: Folder to be made, an absolute path or on gs://.
        overwrite: Whether it may hold something, which is then replaced.
        workers: Threads, each of which writes a file.

    Returns:
        Its dataset.json.

    Raises:
        errors.UsageError: `output` cannot be written.
        errors.DataError: A split would be empty.
    """
    stays = kept(found, exact)
    _check_not_empty(found, stays)
    class_names = _class_names(of, found)
    stage = remote.published if gcs.is_remote(output) else staging.staged
    with stage(output, overwrite=overwrite) as place:
        size = sum(file.bytes for file in found.files)
        staging.check_room(size, place, "fix")
        with progress(int(stays.sum()), "images") as advance:
            results = _written(
                of, found, stays, place, len(class_names), workers, advance
            )
        convert_outcome.checked_unreadable(results, 0)
        shards = convert_outcome.without_empty(results, place)
        info = convert_outcome.describe(
            shards,
            class_names,
            multi_label=of.fields.multi_label,
            slice_columns={} if of.info is None else of.info.slice_columns,
        )
        dataset.save(info, place)
    return info


def _written(
    of: subject.Subject,
    found: examine.Examination,
    stays: np.ndarray,
    place: str,
    num_classes: int,
    workers: int,
    advance: Callable[[], None],
) -> list[record_writer.ShardResult]:
    counts = collections.Counter(file.split for file in found.files)
    numbers: collections.Counter[str] = collections.Counter()
    plans = []
    for i, file in enumerate(found.files):
        rows = slice(*np.searchsorted(found.table.file, [i, i + 1]))
        shard = dataset.shard_name(
            file.split, numbers[file.split], counts[file.split]
        )
        numbers[file.split] += 1
        offsets = found.table.offset[rows][stays[rows]]
        pictures = _Pictures(file, of.fields, offsets)
        plans.append(
            record_writer.ShardPlan(
                file.split,
                shard,
                pictures,
                counts_pixels=file.split == "train"
                or folds.is_fold(file.split),
            )
        )
    return record_writer.write_shards(
        plans,
        place,
        num_classes,
        slice_columns=of.fields.slice_columns,
        rules=transcode.Rules(),
        workers=workers,
        advance=advance,
    )


def _class_names(
    of: subject.Subject, found: examine.Examination
) -> tuple[str, ...]:
    """Returns what dataset.json says, else the numbers of the labels."""
    if of.info is not None:
        return of.info.class_names
    return tuple(map(str, range(int(found.table.label.max()) + 1)))


def _check_not_empty(found: examine.Examination, stays: np.ndarray) -> None:
    splits = np.array([file.split for file in found.files])
    left = set(splits[found.table.file[stays]].tolist())
    empty = sorted(set(splits.tolist()) - left)
    if empty:
        raise errors.DataError(
            f"--fix: split {empty[0]!r} would be empty: no record of it can "
            "stay. Nothing is written."
        )
