"""The host's part of the data flow in training: read, shuffle, decode, batch.

An endless seeded stream (input/reading.py) of compressed records, of which this
host keeps its share and decodes only that, in batches of input/spec.py, of
static shape, in an order that is a function of the seed.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from input import batches, reading, records, rows, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainData(reading.TrainSplit):
    """The training split as batches; see `reading.TrainSplit`."""

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
        """
        replica_batch_size = host.replica_batch_size(
            global_batch_size, micro_batches
        )
        by_file = self.reads_by_file(host.count)
        shards, batch_size = self._share(host, by_file, global_batch_size)
        start = start_step * batch_size
        stream = self.stream(shards, seed, start).enumerate(start)
        if not by_file:
            stream = rows.of_host(
                stream, host, global_batch_size // micro_batches
            )
        stream = rows.by_replica(
            stream, host, replica_batch_size, micro_batches
        )
        # Hosts that read different files draw different crops as well.
        stream_number = host.index if by_file else 0

        def decode(
            position: tf.Tensor, item: tuple[tf.Tensor, tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            index, record = item
            parts = [stream_number, position // 2**31, position % 2**31]
            folded = _fold(seed, parts)
            if self.on_corrupt == "fail":
                return records.example(self, index, record, folded)
            return records.example_or_padding(self, index, record, folded)

        images = stream.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        made = batches.finish(
            images, replica_batch_size, self.image_shape, "train"
        )
        # Workers need not ask each other, at each step, whether there is more.
        return made.apply(
            tf.data.experimental.assert_cardinality(
                tf.data.INFINITE_CARDINALITY
            )
        )


def _fold(seed: int, parts: Sequence[tf.Tensor | int]) -> tf.Tensor:
    """Returns an int32 [2] seed that depends on all the parts."""
    folded = tf.constant([seed, 0], tf.int32)
    for part in parts:
        folded = tf.random.experimental.stateless_fold_in(
            folded, tf.cast(part, tf.int32)
        )
    return folded
