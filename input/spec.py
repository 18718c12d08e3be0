"""The contract between the input pipeline and the step: what a batch is."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

IMAGE = "image"
LABEL = "label"
MASK = "mask"
INDEX = "index"

Batch = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class HostShare:
    """The part of every global batch that one process reads.

    Attributes:
        index: This host, in [0, count).
        count: Hosts (processes) that read.
        replicas: Replicas of the model on this host; each takes its own batch.
    """

    index: int
    count: int
    replicas: int

    def replica_batch_size(
        self, global_batch_size: int, micro_batches: int = 1
    ) -> int:
        """Returns the rows of a global batch that one replica gets.

        Args:
            global_batch_size: Rows over all replicas.
            micro_batches: Equal parts in which a replica takes its rows.

        Raises:
            ValueError: The global batch cannot be divided evenly.
        """
        replicas = self.count * self.replicas
        total = replicas * micro_batches
        if global_batch_size < 1 or global_batch_size % total:
            lower = global_batch_size // total * total
            choices = " or ".join(
                str(size) for size in (lower, lower + total) if size
            )
            parts = (
                f" in {micro_batches} micro-batches each"
                if micro_batches > 1
                else ""
            )
            raise ValueError(
                f"global_batch_size={global_batch_size} cannot be divided "
                f"among {replicas} replica(s){parts}. Choose a positive "
                f"multiple of {total}, such as {choices}."
            )
        return global_batch_size // replicas


def batch_spec(
    batch_size: int,
    image_shape: tuple[int, int, int],
    label_classes: int | None = None,
) -> dict[str, tf.TensorSpec]:
    """Returns the keys, shapes and dtypes of a replica's batch.

    `image` holds pixel values 0..255, `label` classes from 0, `mask` 1 for an
    example and 0 for padding, and `index` the position of the example in its
    split, -1 for padding.

    Args:
        batch_size: Rows of the batch.
        image_shape: Height, width and channels.
        label_classes: Of multi-label data the number of classes: `label` is 1
            for each class that an example has, and 0 for the others.
    """
    label = tf.TensorSpec((batch_size,), tf.int32)
    if label_classes is not None:
        label = tf.TensorSpec((batch_size, label_classes), tf.float32)
    return {
        IMAGE: tf.TensorSpec((batch_size, *image_shape), tf.uint8),
        LABEL: label,
        MASK: tf.TensorSpec((batch_size,), tf.float32),
        INDEX: tf.TensorSpec((batch_size,), tf.int64),
    }


def check(
    element_spec: Mapping[str, tf.TensorSpec],
    expected: Mapping[str, tf.TensorSpec],
    stage: str,
) -> None:
    """Holds the elements of a data set against the contract.

    Args:
        element_spec: What the data set says of its elements.
        expected: What `batch_spec` says they must be.
        stage: The part of the pipeline that made them, for the message.

    Raises:
        ValueError: Keys, shapes or dtypes differ; the message names them.
    """
    missing = sorted(expected.keys() - element_spec.keys())
    extra = sorted(element_spec.keys() - expected.keys())
    if missing or extra:
        raise ValueError(
            f"{stage} made a batch with missing keys {missing} and extra keys "
            f"{extra}; a batch has exactly {sorted(expected)}."
        )
    for key, wanted in expected.items():
        found = element_spec[key]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ValueError(
                f"{stage} made {key!r} with shape {found.shape} and dtype "
                f"{found.dtype.name}; it must be {wanted.shape} "
                f"{wanted.dtype.name}."
            )
