"""Loss functions: from labels and logits to one number for each example."""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def softmax_cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Returns the cross entropy of a softmax over the classes.

    Args:
        label_smoothing: Share of the target that is spread evenly over all
            classes, in [0, 1). Source: Szegedy et al. 2015, arXiv:1512.00567,
            section 7.

    Returns:
        A function of labels (int32 [b]) and logits (float32 [b, classes])
        that gives float32 [b].

    Raises:
        ValueError: `label_smoothing` is out of range.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing={label_smoothing} must be in [0, 1); usual: 0.1."
        )

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        log_probabilities = tf.nn.log_softmax(logits)
        hits = -tf.gather(log_probabilities, labels, axis=1, batch_dims=1)
        if not label_smoothing:
            return hits
        # The smoothed target is (1 - s) * one_hot + s / classes everywhere.
        everywhere = -tf.reduce_mean(log_probabilities, axis=1)
        return (1 - label_smoothing) * hits + label_smoothing * everywhere

    return loss


def focal_loss(gamma: float = 2.0) -> Loss:
    """Returns the cross entropy, weaker for what is classified well already.

    Args:
        gamma: At least 0: an example whose class has probability p counts
            (1 - p)**gamma; 0 gives the cross entropy. Source: Lin et al. 2017,
            arXiv:1708.02002, for a softmax over the classes.

    Returns:
        A function of labels (int32 [b]) and logits (float32 [b, classes])
        that gives float32 [b].

    Raises:
        ValueError: `gamma` is below 0.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma={gamma} must be at least 0; usual: 2.0.")

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        log_probabilities = tf.nn.log_softmax(logits)
        hits = tf.gather(log_probabilities, labels, axis=1, batch_dims=1)
        # 1 - p may be 0, where a fractional power has no gradient.
        missed = tf.maximum(-tf.math.expm1(hits), 1e-7)
        return -tf.pow(missed, gamma) * hits

    return loss
