"""The host's part of the data flow in evaluation: every example once.

In batches of input/spec.py, of static shape, the last ones filled up with rows
of mask 0.
"""

import dataclasses

import tensorflow as tf

from input import batches, records, rows, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalData(records.Split):
    """A split to evaluate on, read once.

    Attributes:
        source: Where the records are.
        split: Name of the split.
        decode: From bytes to pixels.
    """

    split: str = "validation"

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
        stream = tf.data.Dataset.range(shards).interleave(
            lambda i: records.indexed(self, i),
            cycle_length=min(shards, 16),
            block_length=16,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        padding = -self.examples % global_batch_size
        stream = stream.concatenate(
            tf.data.Dataset.from_tensors(
                (tf.constant(-1, tf.int64), "")
            ).repeat(padding)
        )
        stream = rows.of_host(stream.enumerate(), host, global_batch_size)
        images = stream.map(
            lambda _, item: records.example_or_padding(
                self, item[0], item[1], tf.constant([0, 0])
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return batches.finish(
            images, replica_batch_size, self.image_shape, "eval"
        )
