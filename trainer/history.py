"""What a run remembers of its troubles, in its checkpoints."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class History:
    """Scalar variables that a restart must not forget.

    Attributes:
        data_offset: int64, global batches left out so far: step `s` reads batch
            `s + data_offset` of the stream.
        rollbacks: int64, how often the run has gone back to a checkpoint.
        skipped_in_a_row: int64, steps since the last update of the weights.
        loss_sum: float32, recent losses, each times its weight.
        loss_weight: float32, the sum of those weights, in [0, 1).
    """

    data_offset: tf.Variable
    rollbacks: tf.Variable
    skipped_in_a_row: tf.Variable
    loss_sum: tf.Variable
    loss_weight: tf.Variable

    def variables(self) -> dict[str, tf.Variable]:
        """Returns all of them by the names they have in a checkpoint."""
        return {f"history/{name}": value for name, value in vars(self).items()}


def create() -> History:
    """Returns the history of a run that has none."""

    def zero(dtype: tf.DType, name: str) -> tf.Variable:
        return tf.Variable(0, dtype=dtype, trainable=False, name=name)

    return History(
        data_offset=zero(tf.int64, "data_offset"),
        rollbacks=zero(tf.int64, "rollbacks"),
        skipped_in_a_row=zero(tf.int64, "skipped_in_a_row"),
        loss_sum=zero(tf.float32, "loss_sum"),
        loss_weight=zero(tf.float32, "loss_weight"),
    )
