"""The host's part of the data flow: read, shuffle, decode, batch.

Training: an endless seeded stream (input/order.py) of compressed records, of
which this host keeps its share and decodes only that. Evaluation: every record
once, padded to whole batches. Both give batches of input/spec.py, of static
shape, in an order that is a function of the seed.
"""

import dataclasses
import functools
from collections.abc import Sequence

import tensorflow as tf

from input import (
    batches,
    cache,
    damage,
    order,
    records,
    rows,
    service,
    spec,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainData(cache.Cached):
    """The training split, read for ever.

    Attributes:
        source: Where the records are.
        split: Name of the split.
        decode: From bytes to pixels.
        shuffle_bytes: Memory for shuffling, at least 1; shards are shuffled
            together in groups of this size.
        shard_by: How hosts share the work, see `rows.resolve`.
        on_corrupt: What to do about damaged files. `fail`: end, and say
            where the damage is. `skip_record`, `skip_file`: go on without
            what is lost, see `damage.Reader`. A lost record keeps its place
            in the batch, as a row of mask 0.
        max_corrupt_fraction: Share of the split, in [0, 1], that may be lost
            before training ends nevertheless.
        service: Addresses of servers that make the batches, such as
            "grpc://host:port,grpc://host:port", see `service.distribute`;
            "auto": those that launch.local has started, if any; None: this
            process makes them.
        ledger: What has been lost so far.
    """

    split: str = "train"
    shuffle_bytes: int = 1 << 30
    shard_by: rows.ShardBy = "auto"
    on_corrupt: damage.OnCorrupt = "fail"
    max_corrupt_fraction: float = 0.001
    service: str | None = None
    ledger: damage.Ledger = dataclasses.field(
        default_factory=damage.Ledger, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        service.check(self.service)
        if self.service is not None and self.cache != "none":
            raise ValueError(
                f'service={self.service!r} and cache="{self.cache}" do not go '
                "together: the batches are made elsewhere. Choose one of them."
            )
        if self.service is not None and self.on_corrupt != "fail":
            raise ValueError(
                f'on_corrupt="{self.on_corrupt}" keeps account of what is lost '
                f"in this process, but service={self.service!r} reads in "
                'others. Use on_corrupt="fail", or no service.'
            )
        if self.shuffle_bytes < 1:
            raise ValueError(
                f"shuffle_bytes={self.shuffle_bytes} must be at least 1 byte."
            )
        if not 0 <= self.max_corrupt_fraction <= 1:
            raise ValueError(
                f"max_corrupt_fraction={self.max_corrupt_fraction} must be in "
                "[0, 1]: the share of the examples that may be lost."
            )

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

    def dataset(
        self,
        host: spec.HostShare,
        *,
        global_batch_size: int,
        seed: int,
        start_step: int = 0,
        micro_batches: int = 1,
    ) -> tf.data.Dataset:
        """Returns the batches of one host, its replicas taking turns.

        Args:
            host: Which share this host has.
            global_batch_size: Rows of a batch over all hosts.
            seed: Seed of the order and of random crops, any int32.
            start_step: Global batches to leave out, without decoding them.
            micro_batches: Equal parts in which a step takes a batch. Each
                part of the global batch is dealt to all replicas, so that it
                has the same rows at any number of replicas.

        Returns:
            An endless data set of `spec.batch_spec` batches.

        Raises:
            ValueError: The batch cannot be divided among the replicas.
            errors.UsageError: What is to be cached does not fit into memory.
            errors.ServiceError: A data service does not answer.
        """
        make = functools.partial(
            self._batches,
            host,
            global_batch_size,
            seed,
            start_step,
            micro_batches,
        )
        servers = service.servers(self.service)
        if not servers:
            return batches.endless(make(rows.Part()))
        made = service.distribute(lambda k, n: make(rows.Part(k, n)), servers)
        return batches.endless(batches.ordered(made))

    def files(self, host: spec.HostShare) -> list[int]:
        """Returns the numbers of the files that a host reads."""
        return self._share(host, self._by_file(host.count), 0)[0]

    def _batches(
        self,
        host: spec.HostShare,
        global_batch_size: int,
        seed: int,
        start_step: int,
        micro_batches: int,
        part: rows.Part,
    ) -> tf.data.Dataset:
        """Returns what `dataset` does, or every so many batches of it."""
        replica_batch_size = host.replica_batch_size(
            global_batch_size, micro_batches
        )
        by_file = self._by_file(host.count)
        shards, batch_size = self._share(host, by_file, global_batch_size)
        start = start_step * batch_size
        stored = self.stored(shards, self._reader)
        stream = self.stream(shards, seed, start, stored).enumerate(start)
        if not by_file:
            stream = rows.of_host(
                stream, host, global_batch_size // micro_batches
            )
        stream = rows.by_replica(
            stream, host, replica_batch_size, micro_batches
        )
        stream = rows.of_part(stream, replica_batch_size, part)
        if stored is not None and self.cache == "decoded":
            made = batches.of_stored(stream, stored, replica_batch_size)
            return batches.finish(
                made, replica_batch_size, self.image_shape, "train"
            )
        # Hosts that read different files draw different crops as well.
        stream_number = host.index if by_file else 0

        def decode(
            position: tf.Tensor, item: tuple[tf.Tensor, tf.Tensor] | tf.Tensor
        ) -> dict[str, tf.Tensor]:
            index, record = item if stored is None else stored.take(item)
            parts = [stream_number, position // 2**31, position % 2**31]
            folded = _fold(seed, parts)
            if self.on_corrupt == "fail":
                return records.example(self, index, record, folded)
            return records.example_or_padding(self, index, record, folded)

        images = stream.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        made = batches.of_examples(images, replica_batch_size)
        return batches.finish(
            made, replica_batch_size, self.image_shape, "train"
        )

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
        by_file = self._by_file(host.count)
        shards, batch_size = self._share(host, by_file, global_batch_size)
        found = self._order(shards, seed).shards(
            steps.start * batch_size, steps.stop * batch_size
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
        infos = self.source.info.splits[self.split]
        return order.Order(
            shard_sizes=tuple(infos[i].examples for i in shards),
            group_size=order.group_size(
                tuple(infos[i].bytes for i in shards), self.shuffle_bytes
            ),
            seed=seed,
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
        if stored is not None:
            return self._order(shards, seed).records(stored.numbers, position)
        numbers = tf.constant(shards, tf.int64)
        return self._order(shards, seed).records(
            lambda i: records.indexed(self, numbers[i], self._reader), position
        )

    @property
    def _reader(self) -> damage.Reader | None:
        """What reads on behind damage, if that is wanted."""
        paths = self.source.paths(self.split)
        if self.on_corrupt == "fail" or not paths:
            return None
        shards = self.source.info.shards(self.split)
        return damage.Reader(shards, paths, self.on_corrupt, self.ledger)

    def _by_file(self, hosts: int) -> bool:
        """Returns whether hosts read different files."""
        shards = self.source.info.splits[self.split]
        return rows.resolve(self.shard_by, self.split, shards, hosts) == "file"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalData(cache.Cached):
    """A split to evaluate on, read once.

    Attributes:
        source: Where the records are.
        split: Name of the split.
        decode: From bytes to pixels.
    """

    split: str = "validation"

    def files(self) -> range:
        """Returns the numbers of all files, which every host reads."""
        return range(len(self.source.info.splits[self.split]))

    def steps(self, global_batch_size: int) -> int:
        """Returns the number of global batches, the last one padded."""
        return -(-self.examples // global_batch_size)

    def dataset(
        self, host: spec.HostShare, *, global_batch_size: int
    ) -> tf.data.Dataset:
        """Returns the batches of one host, its replicas taking turns.

        Every example is in exactly one batch of one replica. The last global
        batch is filled up with rows of mask 0, and every replica gets
        `steps(global_batch_size)` batches.
        """
        replica_batch_size = host.replica_batch_size(global_batch_size)
        shards = len(self.source.info.splits[self.split])
        stored = self.stored(self.files())
        lost = (tf.constant(-1, tf.int64), tf.constant(""))
        stream = tf.data.Dataset.range(shards).interleave(
            stored.numbers if stored else lambda i: records.indexed(self, i),
            cycle_length=min(shards, 16),
            block_length=16,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        padding = -self.examples % global_batch_size
        stream = stream.concatenate(
            tf.data.Dataset.from_tensors(
                stored.padding if stored else lost
            ).repeat(padding)
        )
        stream = rows.of_host(stream.enumerate(), host, global_batch_size)
        if stored is not None and self.cache == "decoded":
            made = batches.of_stored(stream, stored, replica_batch_size)
        else:
            stream = stream.map(lambda _, item: item)
            if stored is not None:
                stream = stream.map(stored.take)
            images = stream.map(
                lambda index, record: records.example_or_padding(
                    self, index, record, tf.constant([0, 0])
                ),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            made = batches.of_examples(images, replica_batch_size)
        return batches.finish(
            made, replica_batch_size, self.image_shape, "eval"
        )


def _fold(seed: int, parts: Sequence[tf.Tensor | int]) -> tf.Tensor:
    """Returns an int32 [2] seed that depends on all the parts."""
    folded = tf.constant([seed, 0], tf.int32)
    for part in parts:
        folded = tf.random.experimental.stateless_fold_in(
            folded, tf.cast(part, tf.int32)
        )
    return folded
