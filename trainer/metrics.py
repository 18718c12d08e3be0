"""Metrics as sums: what a batch adds, and what the sums say in the end."""

import tensorflow as tf


def rank(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns how many classes come before the right one.

    Args:
        logits: float32 [b, classes].
        labels: int32 [b].

    Returns:
        int32 [b]: 0 where the right class has the highest logit. Of equal
        logits the lower class comes first, as with `tf.math.top_k`. Where a
        logit is not a number the rank is the number of classes: never right.
    """
    classes = logits.shape[1]
    own = tf.gather(logits, labels, axis=1, batch_dims=1)[:, None]
    earlier = tf.range(classes)[None] < labels[:, None]
    before = (logits > own) | ((logits == own) & earlier)
    count = tf.reduce_sum(tf.cast(before, tf.int32), axis=1)
    broken = tf.reduce_any(tf.math.is_nan(logits), axis=1)
    return tf.where(broken, classes, count)
