"""What a batch gives for the metrics: one number, or a few, for each example.

Labels are int32 [b], one class each, or float32 [b, classes] of 0 and 1: those
of multi-label data.
"""

import tensorflow as tf

from trainer import losses


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


def wrong_classes(said: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns how many classes of an example are told wrongly, int32 [b].

    Args:
        said: bool [b, classes], which classes it is said to have.
        labels: float32 [b, classes]; of mixed ones, more than a half counts.
    """
    return tf.reduce_sum(tf.cast(said != (labels > 0.5), tf.int32), axis=1)


def is_correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns whether examples are classified right: float32 [b], 0 or 1.

    Of multi-label data an example is right if all of its classes are, at a
    probability of one half.

    Args:
        logits: float32 [b, classes].
        labels: int32 [b] or float32 [b, classes].
    """
    if labels.shape.rank == 1:
        wrong = rank(logits, labels)
    else:
        wrong = wrong_classes(logits >= 0, labels)
    return tf.cast(wrong == 0, tf.float32)


def is_softmax(loss: losses.Loss) -> bool:
    """Whether the probabilities of a loss add up to 1 over the classes."""
    # Of three equal logits a softmax makes thirds, independent ones do not.
    total = tf.reduce_sum(loss.probabilities(tf.zeros([1, 3])))
    return abs(float(total.numpy()) - 1) < 1e-3


def nll(logits: tf.Tensor, labels: tf.Tensor, softmax: bool) -> tf.Tensor:
    """Returns -log of the probability of the labels, float32 [b].

    Args:
        logits: float32 [b, classes].
        labels: int32 [b] or float32 [b, classes].
        softmax: Whether the classes exclude each other; otherwise each has a
            sigmoid of its own, and the sum over them counts.
    """
    if softmax:
        log_probabilities = tf.nn.log_softmax(logits)
        return -tf.gather(log_probabilities, labels, axis=1, batch_dims=1)
    targets = _multi_hot(labels, logits.shape[1])
    return tf.reduce_sum(
        tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=1
    )


def brier(probabilities: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the squared distance from the labels, float32 [b].

    Source: Brier, "Verification of forecasts expressed in terms of
    probability", 1950: summed over the classes, in [0, 2] for a softmax.

    Args:
        probabilities: float32 [b, classes].
        labels: int32 [b] or float32 [b, classes].
    """
    targets = _multi_hot(labels, probabilities.shape[1])
    return tf.reduce_sum(tf.square(probabilities - targets), axis=1)


def _multi_hot(labels: tf.Tensor, classes: int) -> tf.Tensor:
    return labels if labels.shape.rank == 2 else tf.one_hot(labels, classes)
