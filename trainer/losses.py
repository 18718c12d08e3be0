"""Loss functions: from labels and logits to one number for each example.

Labels have one of two forms: int32 [b], the one class of each example, or
float32 [b, classes], 1 for each of the classes it has and 0 for the others. A
softmax is for the first alone, where the classes exclude each other.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss, and how the network that it trains is to be read.

    Attributes:
        per_example: From labels (int32 [b], or float32 [b, classes]) and logits
            (float32 [b, classes]) to float32 [b].
        probabilities: From logits to probabilities of the classes, float32
            [b, classes] both.
        per_mixed: The same for examples that are mixed of two: from labels,
            labels of the partners, share of the first (float32 [b]) and logits
            to float32 [b]. None: the sum over the parts, which is right where
            a loss is linear in its target.
    """

    per_example: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    probabilities: Callable[[tf.Tensor], tf.Tensor] = tf.nn.softmax
    per_mixed: (
        Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None
    ) = None

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
    _check_smoothing(label_smoothing)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        _check_one_class(labels, "softmax_cross_entropy")
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
    _check_gamma(gamma)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        _check_one_class(labels, "focal_loss")
        log_probabilities = tf.nn.log_softmax(logits)
        hits = tf.gather(log_probabilities, labels, axis=1, batch_dims=1)
        # 1 - p may be 0, where a fractional power has no gradient.
        missed = tf.maximum(-tf.math.expm1(hits), 1e-7)
        return -tf.pow(missed, gamma) * hits

    return Loss(loss)


def binary_cross_entropy(
    label_smoothing: float = 0.0, target_threshold: float | None = None
) -> Loss:
    """Returns the mean over the classes of one yes-or-no question for each.

    For examples of several classes, and of one: there too it was better than a
    softmax with long training and mixing (Wightman et al. 2021, "ResNet
    strikes back", arXiv:2110.00476, section 3).

    Args:
        label_smoothing: In [0, 1). Share of the target that is spread evenly
            over all classes where an example has one; where it has several,
            share by which each answer goes towards 1/2.
        target_threshold: In (0, 1), such as 0.2: a mixed example is all of a
            class of which it has a greater part than this, and none of the
            others; None: it is a part of both.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_smoothing(label_smoothing)
    if target_threshold is not None and not 0 < target_threshold < 1:
        raise ValueError(
            f"target_threshold={target_threshold} must be above 0 and below "
            "1, such as 0.2, or None."
        )

    def of_targets(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if target_threshold is not None:
            targets = tf.cast(targets > target_threshold, logits.dtype)
        return _binary(targets, logits)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return of_targets(_targets(labels, logits, label_smoothing), logits)

    def mixed(
        labels: tf.Tensor,
        partners: tf.Tensor,
        share: tf.Tensor,
        logits: tf.Tensor,
    ) -> tf.Tensor:
        own, other = (
            _targets(each, logits, label_smoothing)
            for each in (labels, partners)
        )
        part = share[:, None]
        return of_targets(part * own + (1 - part) * other, logits)

    # Without a threshold the loss is linear in its target.
    per_mixed = None if target_threshold is None else mixed
    return Loss(loss, tf.nn.sigmoid, per_mixed)


def sigmoid_focal_loss(gamma: float = 2.0, alpha: float | None = None) -> Loss:
    """Returns the focal loss of one yes-or-no question for each class.

    The mean over the classes. Source: Lin et al. 2017, arXiv:1708.02002.

    Args:
        gamma: At least 0: an answer that is given with probability p counts
            (1 - p)**gamma; 0 gives the binary cross entropy.
        alpha: In (0, 1), such as 0.25: weight of the classes that an example
            has, against 1 - alpha for the others; None: 1 for both.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_gamma(gamma)
    if alpha is not None and not 0 < alpha < 1:
        raise ValueError(
            f"alpha={alpha} must be above 0 and below 1, such as 0.25, or None."
        )

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        targets = _targets(labels, logits, 0.0)
        # Log of the probability that the right answer is given.
        log_hit = tf.math.log_sigmoid(logits * (2 * targets - 1))
        missed = tf.maximum(-tf.math.expm1(log_hit), 1e-7)
        each = -tf.pow(missed, gamma) * log_hit
        if alpha is not None:
            each *= targets * alpha + (1 - targets) * (1 - alpha)
        return tf.reduce_mean(each, axis=1)

    return Loss(loss, tf.nn.sigmoid)


def _binary(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    each = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    return tf.reduce_mean(each, axis=1)


def _targets(
    labels: tf.Tensor, logits: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """Returns the wanted answers, float32 [b, classes] in [0, 1]."""
    if len(labels.shape) == 2:
        return labels * (1 - smoothing) + smoothing / 2
    classes = logits.shape[-1]
    one_hot = tf.one_hot(labels, classes, dtype=logits.dtype)
    return one_hot * (1 - smoothing) + smoothing / classes


def _check_one_class(labels: tf.Tensor, name: str) -> None:
    if len(labels.shape) != 1:
        raise ValueError(
            f"train.loss=@{name}() is for examples of one class, but these "
            "have labels of several. Choose @binary_cross_entropy() or "
            "@sigmoid_focal_loss()."
        )


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing={label_smoothing} must be in [0, 1); usual: 0.1."
        )


def _check_gamma(gamma: float) -> None:
    if not gamma >= 0:
        raise ValueError(f"gamma={gamma} must be at least 0; usual: 2.0.")
