"""The host's part of the data flow in training: read, shuffle, decode, batch.

An endless seeded stream (input/reading.py) of compressed records, of which this
host keeps its share and decodes only that, in batches of input/spec.py, of
static shape, in an order that is a function of the seed.
"""

import dataclasses
import functools

import tensorflow as tf

from input import batches, reading, records, rows, service, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainData(reading.TrainSplit):
    """The training split as batches; see `reading.TrainSplit` for the rest.

    Attributes:
        service: Addresses of servers that make the batches, such as
            "grpc://host:port,grpc://host:port", see `service.distribute`;
            "auto": those that launch.local has started, if any; None: this
            process makes them.
    """

    service: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
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
        by_file = self.reads_by_file(host.count)
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
            return self._finish(made, replica_batch_size)
        # Hosts that read different files draw different crops as well.
        stream_number = host.index if by_file else 0
        stream_seed = tf.constant(seed * 2**31 + stream_number, tf.int64)

        def decode(
            position: tf.Tensor, item: tuple[tf.Tensor, tf.Tensor] | tf.Tensor
        ) -> dict[str, tf.Tensor]:
            index, record = item if stored is None else stored.take(item)
            crop_seed = tf.stack([stream_seed, position])
            if self.on_corrupt == "fail":
                return records.example(self, index, record, crop_seed)
            return records.example_or_padding(self, index, record, crop_seed)

        images = stream.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        made = batches.of_examples(images, replica_batch_size)
        return self._finish(made, replica_batch_size)

    def _finish(self, made: tf.data.Dataset, size: int) -> tf.data.Dataset:
        return batches.finish(
            made, size, self.image_shape, "train", self.label_classes
        )
