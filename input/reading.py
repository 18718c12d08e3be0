"""Which examples of a training split a host reads, and in which order."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from input import cache, damage, order, records, rows, sampling, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSplit(cache.Cached):
    """A split that is read for ever, as a function of a seed.

    Attributes:
        shuffle_bytes: Memory for shuffling, at least 1; shards are shuffled
            together in groups of this size. As much again is in use for the
            group that is read ahead.
        shard_by: How hosts share the work, see `rows.resolve`.
        on_corrupt: What to do about damaged files. `fail`: end, and say
            where the damage is. `skip_record`, `skip_file`: go on without
            what is lost, see `damage.Reader`. A lost record keeps its place
            in the batch, as a row of mask 0.
        resample: How often the examples of each class come in an epoch, such
            as `sampling.oversample`; None: each once. The labels are read once
            before training begins.
        copies: How often each example stands in the stream, in a row, each
            time cropped and augmented in another way, at least 1. An epoch
            remains as many rows as the split has examples. Source: Hoffer et
            al. 2019, arXiv:1901.09335.
        max_corrupt_fraction: Share of the split, in [0, 1], that may be lost
            before training ends nevertheless.
        ledger: What has been lost so far.
    """

    split: str = "train"
    shuffle_bytes: int = 1 << 30
    shard_by: rows.ShardBy = "auto"
    on_corrupt: damage.OnCorrupt = "fail"
    max_corrupt_fraction: float = 0.001
    resample: sampling.Resampling | None = None
    copies: int = 1
    ledger: damage.Ledger = dataclasses.field(
        default_factory=damage.Ledger, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        super().__post_init__()
        if self.shuffle_bytes < 1:
            raise ValueError(
                f"shuffle_bytes={self.shuffle_bytes} must be at least 1 byte."
            )
        if self.copies < 1:
            raise ValueError(f"copies={self.copies} must be at least 1.")
        if self.resample is not None and self.on_corrupt != "fail":
            raise ValueError(
                f"resample does not go together with on_corrupt="
                f'"{self.on_corrupt}": nothing is known of the class of a lost '
                "record. Convert the data set again, or leave one out."
            )
        if self.resample is not None and self.source.info.multi_label:
            raise ValueError(
                "resample does not go together with multi-label data: an "
                "example of several classes cannot be repeated for one of "
                "them alone. Leave it out."
            )
        if self.resample is not None and self.shard_by == "file":
            raise ValueError(
                'resample does not go together with shard_by="file": an epoch '
                'has another share of each file. Use "record" or "auto".'
            )
        if not 0 <= self.max_corrupt_fraction <= 1:
            raise ValueError(
                f"max_corrupt_fraction={self.max_corrupt_fraction} must be in "
                "[0, 1]: the share of the examples that may be lost."
            )

    @property
    def label_counts(self) -> list[int]:
        """Examples of each class in an epoch."""
        counts = self.source.info.counted(self.split)
        return list(counts) if self.resample is None else self.resample(counts)

    @property
    def examples(self) -> int:
        """Examples in an epoch."""
        if self.resample is None:
            return super().examples
        return sum(self.label_counts)

    @functools.cached_property
    def _plan(self) -> sampling.Plan | None:
        """What an epoch takes of each shard, where that is not all of it."""
        return self.resample and sampling.plan(self, self.resample)

    def check(self) -> None:
        """Looks at every file of the split before training starts.

        Raises:
            errors.DataError: The split is empty, or cannot be read as far as
                `on_corrupt` asks.
        """
        reader = self._reader
        if reader is None or not self.examples:
            self.source.check(self.split)
            return
        found = reader.survey()
        self.ledger.note(found)
        self.check_budget(found)

    def check_budget(self, found: Sequence[damage.Damage]) -> None:
        """Raises errors.DataError where more is lost than may be."""
        damage.check_budget(
            found,
            examples=self.examples,
            max_fraction=self.max_corrupt_fraction,
        )

    def files(self, host: spec.HostShare) -> list[int]:
        """Returns the numbers of the files that a host reads."""
        return self._share(host, self.reads_by_file(host.count), 0)[0]

    def shards_read(
        self,
        host: spec.HostShare,
        *,
        global_batch_size: int,
        seed: int,
        steps: range,
    ) -> list[str]:
        """Returns the names of the shards that some batches are read from.

        Args:
            host: Whose reading is meant.
            global_batch_size: Rows of a batch over all hosts.
            seed: Seed of the order.
            steps: Global batches of the stream, one after the other.
        """
        by_file = self.reads_by_file(host.count)
        shards, batch_size = self._share(host, by_file, global_batch_size)
        found = self._order(shards, seed).shards(
            steps.start * batch_size // self.copies,
            -(-steps.stop * batch_size // self.copies),
        )
        infos = self.source.info.splits[self.split]
        return [infos[shards[i]].file or f"shard {shards[i]}" for i in found]

    def _share(
        self, host: spec.HostShare, by_file: bool, global_batch_size: int
    ) -> tuple[list[int], int]:
        """Returns the shards that a host reads, and its records of a batch."""
        shards = range(len(self.source.info.splits[self.split]))
        if not by_file:
            return list(shards), global_batch_size
        own = [i for i in shards if i % host.count == host.index]
        return own, global_batch_size // host.count

    def _order(self, shards: Sequence[int], seed: int) -> order.Order:
        """Returns the order in which shards are read for training."""
        infos = [self.source.info.splits[self.split][i] for i in shards]
        sizes = [info.examples for info in infos]
        if self._plan is not None:
            sizes = self._plan.sizes(0).numpy().tolist()
        return order.Order(
            shard_sizes=tuple(sizes),
            group_size=order.group_size(
                tuple(
                    info.bytes * size // info.examples
                    for info, size in zip(infos, sizes, strict=True)
                ),
                self.shuffle_bytes,
            ),
            seed=seed,
            sizes_in=None if self._plan is None else self._plan.sizes,
        )

    def stream(
        self,
        shards: Sequence[int],
        seed: int,
        position: int,
        stored: cache.Stored | None = None,
    ) -> tf.data.Dataset:
        """Returns the endless (index, record) pairs in training order.

        Args:
            shards: Numbers of the files to read.
            seed: Seed of the order, any int32.
            position: Records to leave out.
            stored: The same shards in memory: then their numbers there come
                in place of the pairs.
        """
        numbers = tf.constant(shards, tf.int64)

        def read(epoch: tf.Tensor, i: tf.Tensor) -> tf.data.Dataset:
            if stored is not None:
                shard = stored.numbers(i)
            else:
                shard = records.indexed(self, numbers[i], self._reader)
            if self._plan is None:
                return shard
            return self._plan.read(
                shard, numbers[i], epoch, lambda item: self._label(item, stored)
            )

        stream = self._order(shards, seed).records(
            read, position // self.copies
        )
        if self.copies == 1:
            return stream
        return stream.flat_map(
            lambda *item: tf.data.Dataset.from_tensors(
                item if stored is None else item[0]
            ).repeat(self.copies)
        ).skip(position % self.copies)

    def _label(self, item: Any, stored: cache.Stored | None) -> tf.Tensor:
        """Returns the class of an element of the stream, int32."""
        if stored is None:
            return sampling.label(self, item[1])
        row = stored.take(item)
        if self.cache == "decoded":
            return row[spec.LABEL]
        return sampling.label(self, row[1])

    @property
    def _reader(self) -> damage.Reader | None:
        """What reads on behind damage, if that is wanted."""
        paths = self.source.paths(self.split)
        if self.on_corrupt == "fail" or not paths:
            return None
        shards = self.source.info.shards(self.split)
        return damage.Reader(shards, paths, self.on_corrupt, self.ledger)

    def reads_by_file(self, hosts: int) -> bool:
        """Returns whether so many hosts would read different files."""
        if self.resample is not None:
            return False  # The files of one host have no fixed share.
        shards = self.source.info.splits[self.split]
        return rows.resolve(self.shard_by, self.split, shards, hosts) == "file"
