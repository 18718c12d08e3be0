"""How often the examples of each class come in an epoch.

Of a class of n examples an epoch takes m. Example j, counted over all shards,
comes floor((m * (j + 1) + o) / n) - floor((m * j + o) / n) times, where o moves
on by m from epoch to epoch: m times in all, spread evenly over the shards, and
after many epochs every example has come as often as any other. Where two thirds
of a class are wanted, each comes in two of three epochs. It takes the labels to
know that, which are read once, and then a reader can start at any position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from input import errors, progress, records, threads

_AT_A_TIME = 4096

# From the examples of each class to those that an epoch has.
Resampling = Callable[[Sequence[int]], list[int]]


def oversample(power: float = 1.0) -> Resampling:
    """Repeats the examples of rare classes.

    Args:
        power: In (0, 1]: 1 repeats every class up to the size of the largest,
            0.5 closes half of the gap, on a logarithmic scale.

    Raises:
        ValueError: `power` is out of range.
    """
    _check_power(power)
    return lambda counts: _towards(counts, max(counts), power)


def undersample(power: float = 1.0) -> Resampling:
    """Leaves out examples of frequent classes, others in each epoch.

    Args:
        power: In (0, 1]: 1 takes as many of every class as the smallest has,
            0.5 closes half of the gap, on a logarithmic scale.

    Raises:
        ValueError: `power` is out of range.
    """
    _check_power(power)
    return lambda counts: _towards(
        counts, min((n for n in counts if n), default=0), power
    )


def count_labels(data: records.Split) -> np.ndarray:
    """Reads the labels of a split, all of its shards, decoding no image.

    Returns:
        int64 [shards, classes], the examples of each.

    Raises:
        errors.DataError: They are not those that the data set claims.
    """
    info, split = data.source.info, data.split
    classes, shards = len(info.class_names), len(info.shards(split))

    def of_shard(shard: tf.Tensor) -> tf.data.Dataset:
        labels = data.source.read(split, shard).map(
            lambda record: label(data, record)
        )
        return labels.batch(_AT_A_TIME).map(lambda some: (shard, some))

    counts = np.zeros([shards, classes], np.int64)
    found = (
        tf.data.Dataset.range(shards)
        .interleave(
            of_shard, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
        )
        .with_options(threads.options())
    )
    with progress.progress(info.examples(split), "labels") as advance:
        for shard, labels in found.as_numpy_iterator():
            counts[shard] += np.bincount(
                np.clip(labels, 0, classes - 1), minlength=classes
            )
            for _ in labels:
                advance()
    if tuple(counts.sum(axis=0)) != tuple(info.counted(split)):
        raise errors.DataError(
            f"Split {split!r} has {counts.sum(axis=0).tolist()} examples of "
            f"its classes, but dataset.json says "
            f"{list(info.counted(split))}. Convert it again."
        )
    return counts


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What an epoch takes of each shard of a split.

    Attributes:
        counts: int64 [shards, classes], how many examples there are.
        wanted: Examples of each class in an epoch.
    """

    counts: np.ndarray
    wanted: Sequence[int]

    def sizes(self, epoch: tf.Tensor | int) -> tf.Tensor:
        """Returns the examples of each shard in an epoch, int64 [shards]."""
        # [shards + 1, classes]
        ends = np.pad(np.cumsum(self.counts, axis=0), [[1, 0], [0, 0]])
        reached = self._reached(tf.constant(ends), epoch)
        return tf.reduce_sum(reached[1:] - reached[:-1], axis=1)

    def read(
        self,
        shard: tf.data.Dataset,
        number: tf.Tensor,
        epoch: tf.Tensor,
        label_of: Callable[[Any], tf.Tensor],
    ) -> tf.data.Dataset:
        """Returns what an epoch has of a shard.

        Args:
            shard: All of its examples, in order.
            number: int64 scalar, which shard it is.
            epoch: int64 scalar.
            label_of: Returns the class of an element of `shard`.
        """
        before = np.cumsum(self.counts, axis=0) - self.counts
        start = tf.gather(tf.constant(before), number)

        def times(
            seen: tf.Tensor, item: Any
        ) -> tuple[tf.Tensor, tuple[Any, tf.Tensor]]:
            number = label_of(item)
            after = seen + tf.one_hot(number, len(self.wanted), dtype=tf.int64)
            more = self._reached(after, epoch) - self._reached(seen, epoch)
            return after, (item, more[number])

        return shard.scan(start, times).flat_map(
            lambda item, number: tf.data.Dataset.from_tensors(item).repeat(
                number
            )
        )

    def _reached(self, seen: tf.Tensor, epoch: tf.Tensor | int) -> tf.Tensor:
        """Returns how many of each class have come before some examples.

        Args:
            seen: int64 [..., classes], examples of each class that are passed.
            epoch: int64 scalar.
        """
        there = tf.constant(np.maximum(self.counts.sum(axis=0), 1), tf.int64)
        wanted = tf.constant(self.wanted, tf.int64)
        offset = tf.cast(epoch, tf.int64) * wanted % there
        return (seen * wanted + offset) // there


def plan(data: records.Split, resample: Resampling) -> Plan:
    """Reads the labels of a split and says what an epoch takes of it."""
    wanted = resample(data.source.info.counted(data.split))
    return Plan(count_labels(data), wanted)


def label(data: records.Split, record: tf.Tensor) -> tf.Tensor:
    """Returns the class of a record, int32, without decoding its image."""
    shape = data.image_shape
    _, label = data.source.parse(
        record, lambda encoded: tf.zeros(shape, tf.uint8), shape
    )
    return label


def _towards(counts: Sequence[int], size: int, power: float) -> list[int]:
    return [round(n ** (1 - power) * size**power) if n else 0 for n in counts]


def _check_power(power: float) -> None:
    if not 0 < power <= 1:
        raise ValueError(
            f"power={power} must be in (0, 1]: 1 makes all classes equally "
            "frequent."
        )
