"""What is in the files of a data set: every record read, decoded, summed up.

One thread reads, others decode and take digests. In memory are at most two
chunks (4 MiB of records, or one larger record) a worker, one decoded image a
worker (3 bytes a pixel, at most `max_pixels` of them), and 69 bytes an example;
of multi-label data a byte more for each class.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from input import dataset, frames, record_check
from input.tally import Tally

CORRUPT = "places with corrupt records"
UNREADABLE = "files that cannot be read"

_CHUNK_BYTES = 4 << 20
_CHUNK_RECORDS = 4096
_CHUNKS_AHEAD = 2
# Of each kind, as many are kept in words; all are counted.
_KEPT = 1000

_COLUMNS = (
    ("file", np.int32, ()),
    ("offset", np.int64, ()),
    ("label", np.int64, ()),
    ("encoded", np.uint64, (2,)),
    ("pixels", np.uint64, (2,)),
    ("looks", np.uint64, (2,)),
    ("comparable", bool, ()),
)


@dataclasses.dataclass(frozen=True)
class File:
    """A file to be read.

    Attributes:
        split: The split it belongs to.
        name: Its name in the folder.
        path: Where it is; may be on gs://.
        bytes: Its size.
        recorded: What was written down of it when it was made; None if
            nothing was.
    """

    split: str
    name: str
    path: str
    bytes: int
    recorded: dataset.Shard | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """The examples that are whole, in the order of files and offsets.

    Attributes:
        file: int32 [N], number of the file.
        offset: int64 [N], where in it the record begins.
        label: int64 [N], class, from 0; of multi-label data bool [N, C],
            whether an example has each of the classes.
        encoded: uint64 [N, 2], digest of the encoded image.
        pixels: uint64 [N, 2], digest of its shape and pixels.
        looks: uint64 [N, 2], difference hash.
        comparable: bool [N], whether that means anything.
    """

    file: np.ndarray
    offset: np.ndarray
    label: np.ndarray
    encoded: np.ndarray
    pixels: np.ndarray
    looks: np.ndarray
    comparable: np.ndarray

    def __len__(self) -> int:
        return len(self.file)


class Defects:
    """What is wrong with records, counted by kind and split."""

    def __init__(self) -> None:
        self.counts: collections.Counter[tuple[str, str]] = (
            collections.Counter()
        )
        self.lines: dict[str, list[str]] = {}

    def note(self, kind: str, file: File, offset: int, reason: str) -> None:
        """Takes note of a defect of a record."""
        self.counts[kind, file.split] += 1
        lines = self.lines.setdefault(kind, [])
        if len(lines) < _KEPT:
            lines.append(f"{file.name} at byte {offset:,}: {reason}")

    def merge(self, other: Defects) -> None:
        """Takes note of all that another has."""
        self.counts.update(other.counts)
        for kind, lines in other.lines.items():
            kept = self.lines.setdefault(kind, [])
            kept += lines[: _KEPT - len(kept)]

    def of_kind(self, kind: str) -> int:
        """Returns how many of a kind there are in all splits."""
        return sum(n for (k, _), n in self.counts.items() if k == kind)

    def of_split(self, split: str) -> int:
        """Returns how many of all kinds there are in a split."""
        return sum(n for (_, s), n in self.counts.items() if s == split)


@dataclasses.dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        files: What was read, in this order.
        table: The examples that training can use.
        defects: Those that it cannot.
        records: Frames of each file, whole or not.
        sha256: Checksum of each file; "" if it was not taken.
        tallies: Statistics of the images of each split, labels apart.
    """

    files: Sequence[File]
    table: Table
    defects: Defects
    records: Sequence[int]
    sha256: Sequence[str]
    tallies: dict[str, Tally]

    def label_counts(self, classes: int) -> dict[str, np.ndarray]:
        """Returns int64 [classes] by split: usable examples of each."""
        splits = np.array([file.split for file in self.files])

        def count(labels: np.ndarray) -> np.ndarray:
            if labels.ndim == 2:
                return labels.sum(axis=0)
            return np.bincount(labels, minlength=classes)

        return {
            str(split): count(
                self.table.label[(splits == split)[self.table.file]]
            )
            for split in dict.fromkeys(splits.tolist())
        }


@dataclasses.dataclass
class _Part:
    """What was found in one chunk."""

    rows: list[tuple[object, ...]]
    defects: Defects
    tally: Tally


def examine(
    files: Sequence[File],
    rules: record_check.Rules,
    *,
    workers: int,
    advance: Callable[[], None],
) -> Examination:
    """Reads all files.

    Args:
        files: What to read; those of a split need not follow each other.
        rules: What records must hold.
        workers: Threads that decode. The result does not depend on it.
        advance: Called after each record, from any thread.
    """
    tallies = {file.split: Tally.empty(1) for file in files}
    defects = Defects()
    columns: list[tuple[np.ndarray, ...]] = []
    records = [0] * len(files)
    waiting: collections.deque[tuple[str, futures.Future[_Part]]] = (
        collections.deque()
    )

    def collect() -> None:
        split, task = waiting.popleft()
        part = task.result()
        tallies[split].merge(part.tally)
        defects.merge(part.defects)
        columns.append(_as_columns(part.rows, rules))

    with futures.ThreadPoolExecutor(workers) as pool:
        checksums = []
        for number, file in enumerate(files):
            problems = Defects()
            for found in _chunks(file, problems):
                task = pool.submit(
                    _examine, number, file, found, rules, advance
                )
                records[number] += len(found)
                waiting.append((file.split, task))
                if len(waiting) > _CHUNKS_AHEAD * workers:
                    collect()
            # In its turn, so that the order does not depend on the workers.
            task = pool.submit(_Part, [], problems, Tally.empty(1))
            waiting.append((file.split, task))
            checksums.append(pool.submit(_sha256, file))
        while waiting:
            collect()
        sha256 = [task.result() for task in checksums]
    columns = columns or [_as_columns([], rules)]
    table = Table(*(np.concatenate(c) for c in zip(*columns, strict=True)))
    return Examination(files, table, defects, records, sha256, tallies)


def _chunks(file: File, problems: Defects) -> Iterator[list[frames.Frame]]:
    """Yields the frames of a file in parts that fit into memory.

    Args:
        file: The file.
        problems: What ends the reading early is noted there.
    """
    size = max(file.bytes, file.recorded.bytes if file.recorded else 0)
    expected = file.recorded.examples if file.recorded else 0
    offset = seen = 0
    if not file.bytes:
        problems.note(UNREADABLE, file, 0, "the file is empty")
        return
    while offset < file.bytes:
        try:
            stretch = frames.read(
                file.path,
                size=size,
                offset=offset,
                count=_CHUNK_RECORDS,
                max_bytes=_CHUNK_BYTES,
            )
        except tf.errors.OpError as e:
            problems.note(UNREADABLE, file, offset, e.message.splitlines()[0])
            return
        if stretch.frames:
            yield stretch.frames
        offset, seen = stretch.end, seen + len(stretch.frames)
        if stretch.problem and offset < file.bytes:
            lost = "all that follows is lost"
            if expected > seen:
                lost = f"{expected - seen:,} records are lost"
            problems.note(CORRUPT, file, offset, f"{stretch.problem}; {lost}")
            return


def _examine(
    number: int,
    file: File,
    found: list[frames.Frame],
    rules: record_check.Rules,
    advance: Callable[[], None],
) -> _Part:
    part = _Part([], Defects(), Tally.empty(1))
    for frame in found:
        if frame.record is None:
            reason = "the data do not match their checksum"
            part.defects.note(CORRUPT, file, frame.offset, reason)
        else:
            try:
                row = record_check.row(frame.record, rules, part.tally)
            except record_check.DefectError as e:
                part.defects.note(e.kind, file, frame.offset, str(e))
            else:
                part.rows.append((number, frame.offset, *row))
        advance()
    return part


def _as_columns(
    rows: list[tuple[object, ...]], rules: record_check.Rules
) -> tuple[np.ndarray, ...]:
    kinds = list(_COLUMNS)
    if rules.fields.multi_label:
        kinds[2] = ("label", bool, (rules.num_classes or 0,))
    columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
    return tuple(
        np.array(values, dtype).reshape([len(rows), *shape])
        for values, (_, dtype, shape) in zip(columns, kinds, strict=True)
    )


def _sha256(file: File) -> str:
    """Returns the checksum of a file, if there is one to hold it against.

    The file has just been read: most likely it is still in memory.
    """
    if not file.recorded or not file.recorded.sha256:
        return ""
    made = hashlib.sha256()
    try:
        with tf.io.gfile.GFile(file.path, "rb") as data:
            while block := data.read(1 << 20):
                made.update(block)
    except tf.errors.OpError:
        return ""  # has been noted when its records were read
    return made.hexdigest()
