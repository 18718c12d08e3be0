"""Who gets which rows of a global batch: hosts, replicas, micro-batches."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
from absl import logging

from input import dataset, errors, spec

ShardBy = Literal["auto", "file", "record"]

# Up to here it costs little to read the split on every host: 0.5 s at 2 GB/s.
_SMALL_SPLIT_BYTES = 1 << 30


def resolve(
    shard_by: ShardBy,
    split: str,
    shards: Sequence[dataset.Shard],
    hosts: int,
) -> ShardBy:
    """Returns how hosts share the work, "file" or "record".

    Args:
        shard_by: `file`: each host reads its own files. `record`: each reads
            all files but decodes only its rows, so that the sequence of global
            batches is the same at any number of hosts. `auto`: `record` for
            small splits and where there are fewer files than hosts, else
            `file`.
        split: Its name.
        shards: Its files.
        hosts: How many there are.

    Raises:
        errors.DataError: There are fewer files than hosts that want one.
    """
    if shard_by == "file" and len(shards) < hosts:
        raise errors.DataError(
            f'train_data.shard_by="file", but split {split!r} has '
            f'{len(shards)} file(s) for {hosts} hosts. Use "record", or '
            "convert with --shards of at least the number of hosts."
        )
    if shard_by != "auto" or hosts == 1:
        return shard_by
    total = sum(shard.bytes for shard in shards)
    if total <= _SMALL_SPLIT_BYTES:
        choice: ShardBy = "record"
        reason = f"{total / 2**20:.0f} MiB are cheap for all hosts to read"
    elif len(shards) < hosts:
        choice = "record"
        reason = f"{len(shards)} file(s) are too few for {hosts} hosts"
    else:
        choice = "file"
        reason = f"{total / 2**30:.1f} GiB are too much for all to read"
    logging.info("train_data.shard_by='auto' chose %r: %s.", choice, reason)
    return choice


def of_host(
    stream: tf.data.Dataset, host: spec.HostShare, global_batch_size: int
) -> tf.data.Dataset:
    """Returns the rows of one host.

    Args:
        stream: (position, item) pairs in the order of the global batches.
        host: Whose rows to keep.
        global_batch_size: Rows over all hosts; of a micro-batch where a batch
            is taken in several.

    Raises:
        ValueError: The batch cannot be divided among the replicas.
    """
    if host.count == 1:
        return stream
    size = host.replica_batch_size(global_batch_size) * host.replicas
    return stream.filter(
        lambda position, _: position % global_batch_size // size == host.index
    )


@dataclasses.dataclass(frozen=True)
class Part:
    """Which batches one of several makers of batches makes.

    Attributes:
        index: This one, in [0, count).
        count: How many take turns.
    """

    index: int = 0
    count: int = 1


def of_part(
    stream: tf.data.Dataset, batch_size: int, part: Part
) -> tf.data.Dataset:
    """Returns the rows of the batches `index`, `index + count`, ...

    Args:
        stream: The rows of one host in the order of its batches.
        batch_size: Rows of a batch.
        part: Whose batches to keep.
    """
    if part.count == 1:
        return stream
    kept = stream.enumerate().filter(
        lambda place, _: place // batch_size % part.count == part.index
    )
    return kept.map(lambda _, item: item)


def by_replica(
    stream: tf.data.Dataset,
    host: spec.HostShare,
    replica_batch_size: int,
    micro_batches: int,
) -> tf.data.Dataset:
    """Puts the rows of each replica together.

    Args:
        stream: The rows of one host; records rather than images, since all
            rows of a batch are in memory at once.
        host: Has the replicas.
        replica_batch_size: Rows of a replica in one step.
        micro_batches: Equal parts of a step. Each part comes as the rows of
            replica 0, those of replica 1, ...

    Returns:
        The same rows in another order: all of replica 0, those of its first
        micro-batch first; then all of replica 1.
    """
    if host.replicas == 1 or micro_batches == 1:
        return stream
    rows = replica_batch_size * host.replicas
    # [micro_batches, replicas, rows] -> [replicas, micro_batches, rows]
    order = np.arange(rows).reshape([micro_batches, host.replicas, -1])
    order = order.transpose([1, 0, 2]).reshape([-1])
    return (
        stream.batch(rows, drop_remainder=True)
        .map(
            lambda *items: tf.nest.map_structure(
                lambda item: tf.gather(item, order), items
            )
        )
        .unbatch()
    )
