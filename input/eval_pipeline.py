"""The host's part of the data flow in evaluation: every example once.

In batches of input/spec.py, of static shape, the last ones filled up with rows
of mask 0.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from input import batches, cache, records, rows, slice_columns, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalData(cache.Cached):
    """A split to evaluate on, read once.

    Attributes:
        source: Where the records are.
        split: Name of the split.
        decode: From bytes to pixels.
        slices: Columns of the data set, such as ["camera"], by whose values
            the metrics are given as well; None: all that it has.
    """

    split: str = "validation"
    slices: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        super().__post_init__()
        slice_columns.chosen(self.source.info, self.slices)

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
                    self, index, record, tf.constant([0, 0], tf.int64)
                ),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            made = batches.of_examples(images, replica_batch_size)
        return batches.finish(
            made,
            replica_batch_size,
            self.image_shape,
            "eval",
            self.label_classes,
        )
