"""Loss functions: from labels and logits to one number for each example."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss, and how the network that it trains is to be read.

    Attributes:
        per_example: From labels (int32 [b]) and logits (float32 [b, classes])
            to float32 [b].
        probabilities: From logits to probabilities of the classes, float32
            [b, classes] both.
    """

    per_example: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    probabilities: Callable[[tf.Tensor], tf.Tensor] = tf.nn.softmax

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, float32 [b]."""
        return self.per_example(labels, logits)


def softmax_cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Returns the cross entropy of a softmax over the classes.

    Args:
        label_smoothing: Share of the target that is spread evenly over all
            classes, in [0, 1). Source: Szegedy et al. 2015, arXiv:1512.00567,
            section 7.

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

    return Loss(loss)


def focal_loss(gamma: float = 2.0) -> Loss:
    """Returns the cross entropy, weaker for what is classified well already.

    Args:
        gamma: At least 0: an example whose class has probability p counts
            (1 - p)**gamma; 0 gives the cross entropy. Source: Lin et al. 2017,
            arXiv:1708.02002, for a softmax over the classes.

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

    return Loss(loss)
