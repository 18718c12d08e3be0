"""The order in which a training split is read, as a function of its seed.

An epoch is a permutation of the shards, cut into groups that fit the shuffle
budget; the records of a group are read from its shards at once and shuffled
among themselves. Nothing outlives a group, so that a reader can start at any
position of any epoch: it drops whole groups by their counts, reads its way into
one group, and needs no saved shuffle buffer.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from input import threads

# Keep the two uses of the run's seed apart.
_SHARD_SALT = 0x5A4D
_RECORD_SALT = 0x5EC0
_AT_A_TIME = 4096
# Records of a shard, one after the other, before it is another one's turn.
_AT_ONCE = 16

# From an epoch and the index of a shard to its records.
ReadShard = Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]


@dataclasses.dataclass(frozen=True)
class Order:
    """The endless, seeded order of the records of some shards.

    Attributes:
        shard_sizes: Records in each shard, at least one shard.
        group_size: Shards shuffled together, at least 1.
        seed: Any int32.
        sizes_in: From an epoch to the records of each shard in it, int64
            [shards], where they are others in each; they add up to the same.
    """

    shard_sizes: tuple[int, ...]
    group_size: int
    seed: int
    sizes_in: Callable[[tf.Tensor | int], tf.Tensor] | None = None

    @property
    def examples(self) -> int:
        """Records in an epoch."""
        return sum(self.shard_sizes)

    def sizes(self, epoch: tf.Tensor | int) -> tf.Tensor:
        """Returns the records of each shard in an epoch, int64 [shards]."""
        if self.sizes_in is None:
            return tf.constant(self.shard_sizes, tf.int64)
        return self.sizes_in(epoch)

    def groups(self, epoch: tf.Tensor | int) -> tf.Tensor:
        """Returns an epoch's shards: int64 [groups, group_size], -1 pads."""
        shards = tf.random.experimental.stateless_shuffle(
            tf.range(len(self.shard_sizes), dtype=tf.int64),
            seed=self._seed(_SHARD_SALT, epoch),
        )
        padding = -len(self.shard_sizes) % self.group_size
        shards = tf.pad(shards, [[0, padding]], constant_values=-1)
        return tf.reshape(shards, [-1, self.group_size])

    def records(self, read: ReadShard, position: int = 0) -> tf.data.Dataset:
        """Returns the endless stream of records from a position on.

        Args:
            read: Makes the data set of one shard from the epoch and its index,
                int64 scalars.
            position: Records of the stream to leave out, at least 0. Whole
                groups are left out unread.
        """
        first_epoch, first_group, inside = self.seek(position)
        groups = tf.data.Dataset.counter(first_epoch).flat_map(
            lambda e: (
                tf.data.Dataset.from_tensor_slices(self.groups(e))
                .enumerate()
                .map(lambda group, shards: (e, group, shards))
            )
        )
        # A group is one element, of which the next is read while this one is
        # used: two are in memory. An interleave would hold three, and hand
        # over each record from thread to thread.
        records = (
            groups.skip(first_group)
            .flat_map(lambda e, group, at: self._group(read, e, group, at))
            .prefetch(1)
            .unbatch()
        )
        return records.skip(inside)

    def seek(self, position: int) -> tuple[int, int, int]:
        """Returns (epoch, groups to leave out, records to leave out inside)."""
        epoch, rest = divmod(position, self.examples)
        sizes = np.append(self.sizes(epoch), 0)  # Index -1, the padding, is 0.
        ends = np.cumsum(sizes[self.groups(epoch).numpy()].sum(axis=1))
        group = int(np.searchsorted(ends, rest, side="right"))
        return epoch, group, int(rest - (ends[group - 1] if group else 0))

    def shards(self, start: int, stop: int) -> list[int]:
        """Returns which shards the records of some positions are in, rising.

        No shard is read: the order depends on their sizes alone.
        """
        origins = self.records(
            lambda epoch, shard: tf.data.Dataset.from_tensors(shard).repeat(
                self.sizes(epoch)[shard]
            ),
            start,
        )
        found: set[int] = set()
        origins = origins.take(stop - start).batch(_AT_A_TIME)
        for some in origins.with_options(threads.options()):
            found.update(some.numpy().tolist())
        return sorted(found)

    def _group(
        self,
        read: ReadShard,
        epoch: tf.Tensor,
        group: tf.Tensor,
        shards: tf.Tensor,
    ) -> tf.data.Dataset:
        """Returns the records of one group, shuffled, as one element."""
        # tf.data mixes a global seed into its own; pin it, so that the order
        # depends on the run's seed alone. This is the graph of the group.
        tf.compat.v1.set_random_seed(1)
        sizes = tf.pad(self.sizes(epoch), [[0, 1]])
        # The padding, -1, takes the last size: 0.
        count = tf.reduce_sum(
            tf.gather(sizes, shards % (len(self.shard_sizes) + 1))
        )
        # Of a group without records it would be 0, which is refused.
        count = tf.maximum(count, 1)
        seed = self._seed(_RECORD_SALT, epoch, group)
        return (
            tf.data.Dataset.from_tensor_slices(shards)
            .filter(lambda shard: shard >= 0)
            .interleave(
                lambda shard: read(epoch, shard).batch(_AT_ONCE),
                cycle_length=self.group_size,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .unbatch()
            .shuffle(count, seed=tf.cast(seed[0], tf.int64))
            .batch(count)
        )

    def _seed(self, *parts: tf.Tensor | int) -> tf.Tensor:
        """Returns an int32 [2] seed that depends on all the parts."""
        seed = tf.constant([self.seed, 0], tf.int32)
        for part in parts:
            seed = tf.random.experimental.stateless_fold_in(
                seed, tf.cast(part, tf.int32)
            )
        return seed


def group_size(shard_bytes: tuple[int, ...], budget_bytes: int) -> int:
    """Returns how many shards may be shuffled together within a budget.

    Args:
        shard_bytes: Sizes of the shards.
        budget_bytes: Memory for the records of one group; as much again is in
            use for the next one, which is read ahead.
    """
    largest = max(max(shard_bytes), 1)
    return max(1, min(len(shard_bytes), budget_bytes // largest))
