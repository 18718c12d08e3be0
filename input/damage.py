"""Training on a damaged data set: which records are lost, and reading on.

A lost record keeps its place in the order, so that all others stay where
dataset.json puts them and a restart continues the same stream. What was lost is
noted in a `Ledger`; `trainer.damage_log` writes it down and holds it against
`train_data.max_corrupt_fraction`.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import Literal

import numpy as np
import tensorflow as tf

from input import dataset, errors, frames

OnCorrupt = Literal["fail", "skip_record", "skip_file"]

# Records are handed to TensorFlow in chunks: a call into Python for each would
# cost more than reading it.
_CHUNK_BYTES = 4 << 20
# In place of an offset, or of a position in the split.
_LOST = -1
_THREADS = 8
_SHOWN = 5


@dataclasses.dataclass(frozen=True, order=True)
class Damage:
    """Records of a file that cannot be read.

    Attributes:
        file: Name of the shard in dataset.json.
        offset: Byte at which the first of them begins.
        records: How many, at least 1.
        reason: What is wrong there.
    """

    file: str
    offset: int
    records: int
    reason: str

    def __str__(self) -> str:
        plural = "record" if self.records == 1 else "records"
        return (
            f"{self.file} at byte {self.offset:,}: {self.records:,} {plural} "
            f"lost ({self.reason})"
        )


class Ledger:
    """What readers have lost so far, each damage once; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unreported: dict[tuple[str, int], Damage] = {}
        self._reported: dict[tuple[str, int], Damage] = {}

    def note(self, damages: Iterable[Damage]) -> None:
        """Takes note of what a reader has found, if it is new."""
        with self._lock:
            for damage in damages:
                key = (damage.file, damage.offset)
                if key not in self._reported:
                    self._unreported.setdefault(key, damage)

    def unreported(self) -> list[Damage]:
        """Returns what has not been reported yet."""
        with self._lock:
            return list(self._unreported.values())

    def report(self, damages: Iterable[Damage]) -> list[Damage]:
        """Marks damage as reported; returns what of it is new, in order."""
        with self._lock:
            new = {}
            for damage in damages:
                key = (damage.file, damage.offset)
                self._unreported.pop(key, None)
                if key not in self._reported:
                    self._reported[key] = new[key] = damage
            return sorted(new.values())

    def reported(self) -> list[Damage]:
        """Returns all that has been reported."""
        with self._lock:
            return sorted(self._reported.values())


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads shards as far as they can be read.

    Attributes:
        shards: Of a split, as dataset.json describes them.
        paths: Where they are.
        skip: `skip_record` loses what is damaged: one record, or the rest of
            the file from a damaged length on. `skip_file` loses all records
            of a damaged file; it reads each file twice.
        ledger: Takes note of what is lost.
    """

    shards: tuple[dataset.Shard, ...]
    paths: tuple[str, ...]
    skip: OnCorrupt
    ledger: Ledger

    def read(self, shard: tf.Tensor) -> tf.data.Dataset:
        """Returns one shard: as many pairs as dataset.json says.

        Args:
            shard: Its int64 index.

        Returns:
            Pairs of the position in the split and the record; -1 and "" where
            it is lost.
        """
        sizes = tf.constant([s.examples for s in self.shards], tf.int64)

        def next_chunk(
            offset: tf.Tensor, first: tf.Tensor
        ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
            end, indices, records = tf.numpy_function(
                self._chunk,
                [shard, first, offset],
                [tf.int64, tf.int64, tf.string],
            )
            return tf.ensure_shape(end, []), (
                tf.ensure_shape(indices, [None]),
                tf.ensure_shape(records, [None]),
            )

        chunks = tf.data.Dataset.range(0, sizes[shard], self._chunk_records)
        return chunks.scan(tf.constant(0, tf.int64), next_chunk).unbatch()

    def survey(self) -> list[Damage]:
        """Returns the damage of files that have not the size they should have.

        Asks for sizes only, and reads the files whose size is wrong.
        """
        suspects = [
            number
            for number, size in enumerate(dataset.sizes(self.paths))
            if size != self.shards[number].bytes
        ]
        with futures.ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(self._losses, suspects)
            return [damage for damages in found for damage in damages]

    def _losses(self, shard: int) -> list[Damage]:
        """Returns what is lost of a file: all of it, under `skip_file`."""
        info = self.shards[shard]
        found = scan(info, self.paths[shard])
        if self.skip == "skip_file":
            found = [
                dataclasses.replace(damage, records=info.examples)
                for damage in found[:1]
            ]
        return found

    @property
    def _chunk_records(self) -> int:
        examples = sum(shard.examples for shard in self.shards)
        mean = sum(shard.bytes for shard in self.shards) // examples
        return max(1, _CHUNK_BYTES // max(mean, 1))

    def _chunk(
        self, shard: np.int64, first: np.int64, offset: np.int64
    ) -> tuple[np.int64, np.ndarray, np.ndarray]:
        """Reads some slots of a shard from the offset where they begin.

        Returns:
            Offset of the next slot, `_LOST` where there is no telling; the
            positions and the records, as `read` gives them.
        """
        info, path = self.shards[shard], self.paths[shard]
        count = min(self._chunk_records, info.examples - int(first))
        if not first and self.skip == "skip_file":
            losses = self._losses(int(shard))
            self.ledger.note(losses)
            offset = np.int64(_LOST if losses else offset)
        records: list[bytes | None] = [None] * count
        if offset != _LOST:
            stretch = frames.read(
                path, size=info.bytes, offset=int(offset), count=count
            )
            records[: len(stretch.frames)] = [f.record for f in stretch.frames]
            self.ledger.note(_damages(info, int(first), stretch))
            offset = np.int64(_LOST if stretch.problem else stretch.end)
        begin = sum(s.examples for s in self.shards[:shard]) + int(first)
        indices = [
            _LOST if record is None else begin + i
            for i, record in enumerate(records)
        ]
        return (
            offset,
            np.array(indices, np.int64),
            np.array([record or b"" for record in records], object),
        )


def scan(
    shard: dataset.Shard,
    path: str,
    stop: Callable[[], bool] = lambda: False,
) -> list[Damage]:
    """Returns what is damaged in a file, in order of offset.

    Args:
        shard: What dataset.json says of it.
        path: Where it is.
        stop: Asked now and then whether to leave the rest of the file unread.
    """
    found: list[Damage] = []
    offset = first = 0
    step = max(1, _CHUNK_BYTES * shard.examples // max(shard.bytes, 1))
    while first < shard.examples and not stop():
        count = min(step, shard.examples - first)
        stretch = frames.read(
            path, size=shard.bytes, offset=offset, count=count
        )
        found += _damages(shard, first, stretch)
        if stretch.problem:
            break
        offset, first = stretch.end, first + count
    return found


def check_budget(
    damages: Sequence[Damage], *, examples: int, max_fraction: float
) -> None:
    """Holds what has been lost against what may be lost.

    Args:
        damages: All that has been found.
        examples: Records of the split.
        max_fraction: Share of them that may be lost, in [0, 1].

    Raises:
        errors.DataError: More is lost.
    """
    lost = sum(damage.records for damage in damages)
    # 0.29 * 100 is a little less than 29.
    allowed = int(max_fraction * examples + 1e-6)
    if lost > allowed:
        raise errors.DataError(
            f"{lost:,} of the {examples:,} training examples are lost, but "
            f"train_data.max_corrupt_fraction={max_fraction:g} allows "
            f"{allowed:,}:\n{listing(damages)}\nCopy the files again from "
            "where they came, convert the data set again, or allow more."
        )


def listing(damages: Sequence[Damage]) -> str:
    """Returns a line for each damage, but not more than a few."""
    lines = [f"  {damage}" for damage in damages[:_SHOWN]]
    if len(damages) > _SHOWN:
        rest = sum(damage.records for damage in damages[_SHOWN:])
        lines.append(f"  and {rest:,} more in {len(damages) - _SHOWN:,} places")
    return "\n".join(lines)


def _damages(
    shard: dataset.Shard, first: int, stretch: frames.Stretch
) -> list[Damage]:
    """Returns what is lost in a stretch whose first frame is slot `first`."""
    found = [
        Damage(
            shard.file, frame.offset, 1, "the data do not match their checksum"
        )
        for frame in stretch.frames
        if frame.record is None
    ]
    if stretch.problem:
        rest = shard.examples - first - len(stretch.frames)
        found.append(Damage(shard.file, stretch.end, rest, stretch.problem))
    return found
