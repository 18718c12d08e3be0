"""Who gets which rows of a global batch: hosts, replicas, micro-batches."""

import numpy as np
import tensorflow as tf

from input import spec


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
