"""What `input.doctor` looks at: the files of a data set and what is known."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Sequence

import tensorflow as tf

from input import (
    dataset,
    errors,
    examine,
    frames,
    gcs,
    imagenet_records,
    sources,
    tfds_directory,
)

SOURCES = ("tfrecords", "imagenet_records", "tfds")

_SHARD = re.compile(r"(.+?)-\d{5,}-of-\d{5,}(\.tfrecord)?")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A data set before it is read.

    Attributes:
        directory: Where it is.
        files: Those that are there.
        info: What is written down of it; None if that cannot be read.
        fields: Where in a record things are.
        problems: What is wrong with dataset.json.
        missing: Files that should be there.
        surplus: Files that look like shards but belong to no split.
    """

    directory: str
    files: Sequence[examine.File]
    info: dataset.DatasetInfo | None
    fields: sources.Fields
    problems: Sequence[str] = ()
    missing: Sequence[str] = ()
    surplus: Sequence[str] = ()

    @property
    def described(self) -> bool:
        """Whether the data set has a dataset.json that can be read."""
        return self.info is not None and bool(self.info.label_counts)

    def expected_records(self) -> int:
        """Returns how many records there should be; counts where unknown."""
        if self.info is not None:
            return sum(map(self.info.examples, self.info.splits))
        counted = 0
        for file in self.files:
            # What is wrong with a file is found when it is read.
            with contextlib.suppress(OSError, tf.errors.OpError):
                extent = frames.count(file.path, size=file.bytes)
                counted += extent.frames
        return counted


def of_tfrecords(directory: str) -> Subject:
    """Returns a data set that `input.convert` has written.

    Without a readable dataset.json, its files are found by their names.

    Raises:
        errors.DataError: There is neither dataset.json nor any such file.
    """
    present = _listing(directory)
    try:
        info = dataset.load(directory)
    except (errors.DataError, OSError) as e:
        files = [
            examine.File(
                match[1], name, os.path.join(directory, name), present[name]
            )
            for name in sorted(present)
            if (match := _SHARD.fullmatch(name))
        ]
        if not files:
            raise
        return Subject(directory, files, None, sources.Fields(), [str(e)])
    known = {s.file for shards in info.splits.values() for s in shards}
    return Subject(
        directory,
        [
            examine.File(
                split,
                shard.file,
                os.path.join(directory, shard.file),
                present[shard.file],
                shard,
            )
            for split, shards in info.splits.items()
            for shard in shards
            if shard.file in present
        ],
        info,
        sources.fields_of(info),
        missing=sorted(known - present.keys()),
        surplus=sorted(
            name for name in present.keys() - known if _SHARD.fullmatch(name)
        ),
    )


def of_source(
    source: imagenet_records.ImagenetRecords | tfds_directory.TfdsDirectory,
) -> Subject:
    """Returns a data set in a layout without dataset.json."""
    # What was counted by a scan says nothing new when it is counted again.
    counted = isinstance(source, imagenet_records.ImagenetRecords)
    return Subject(
        source.directory,
        [
            examine.File(
                split, shard.file, path, shard.bytes, None if counted else shard
            )
            for split, shards in source.info.splits.items()
            for shard, path in zip(shards, source.paths(split), strict=True)
        ],
        source.info,
        source.fields,
    )


def _listing(directory: str) -> dict[str, int]:
    """Returns the sizes of the files of a folder.

    Raises:
        errors.UsageError: There is no such folder, or it cannot be read.
    """
    try:
        if gcs.is_remote(directory):
            return gcs.sizes(directory)
        with os.scandir(directory) as entries:
            return {e.name: e.stat().st_size for e in entries}
    except OSError as e:
        raise errors.UsageError(
            f"{directory}: {e.strerror or e}. Give the folder of a data set."
        ) from e
