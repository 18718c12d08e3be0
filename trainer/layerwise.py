"""LARS and LAMB: steps as long as each weight allows, for very large batches.

Where a step is long beside the weight it changes, training diverges; which
weight that is differs by layer. Both rules scale the step of each weight by the
ratio of the two norms. Weight decay belongs to the step, so that it is theirs
to add. Biases, scales and shifts take the plain step, as in the authors' code.

All norms are of weights and of all-reduced gradients, which are the same on
every replica.
"""

import abc
from collections.abc import Sequence

import keras
import tensorflow as tf


class Layerwise(keras.optimizers.Optimizer, abc.ABC):
    """A rule that adds weight decay by itself."""

    def __init__(self, name: str) -> None:
        # The learning rate comes with each update.
        super().__init__(learning_rate=0.0, name=name)

    @abc.abstractmethod
    def decayed_step(
        self,
        gradient: tf.Tensor,
        weight: keras.Variable,
        learning_rate: tf.Tensor,
        weight_decay: float,
    ) -> None:
        """Updates a weight and its slots.

        Args:
            gradient: float32, all-reduced.
            weight: float32.
            learning_rate: float32 scalar.
            weight_decay: At least 0.
        """


class LARS(Layerwise):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv:1708.03888).

    Algorithm 1: momentum over steps of length learning_rate *
    trust_coefficient * |w| / (|g| + weight_decay * |w|) times the decayed
    gradient.
    """

    def __init__(self, momentum: float, trust_coefficient: float) -> None:
        super().__init__("lars")
        self._momentum = momentum
        self._trust_coefficient = trust_coefficient

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a slot for each weight."""
        super().build(variables)
        self._slots = self.add_optimizer_variables(variables, "momentum")

    def decayed_step(
        self,
        gradient: tf.Tensor,
        weight: keras.Variable,
        learning_rate: tf.Tensor,
        weight_decay: float,
    ) -> None:
        """Updates a weight and its momentum."""
        step = gradient
        if _is_adapted(weight):
            value = weight.value
            length = tf.norm(value)
            others = tf.norm(gradient) + weight_decay * length
            ratio = _ratio(self._trust_coefficient * length, others)
            step = ratio * (gradient + weight_decay * value)
        slot = self._slots[self._get_variable_index(weight)]
        slot.assign(self._momentum * slot.value + learning_rate * step)
        weight.assign_sub(slot.value)


class LAMB(Layerwise):
    """LARS on the steps of Adam (You et al. 2019, arXiv:1904.00962).

    Algorithm 2, with the identity for its phi.
    """

    def __init__(self, beta_1: float, beta_2: float, epsilon: float) -> None:
        super().__init__("lamb")
        self._beta_1, self._beta_2 = beta_1, beta_2
        self._epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes two slots for each weight."""
        super().build(variables)
        self._means, self._squares = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )

    def decayed_step(
        self,
        gradient: tf.Tensor,
        weight: keras.Variable,
        learning_rate: tf.Tensor,
        weight_decay: float,
    ) -> None:
        """Updates a weight and the moments of its gradient."""
        index = self._get_variable_index(weight)
        mean, square = self._means[index], self._squares[index]
        mean.assign_add((1 - self._beta_1) * (gradient - mean.value))
        square.assign_add(
            (1 - self._beta_2) * (tf.square(gradient) - square.value)
        )
        count = tf.cast(self.iterations.value + 1, tf.float32)
        step = mean.value / (1 - tf.pow(self._beta_1, count))
        root = tf.sqrt(square.value / (1 - tf.pow(self._beta_2, count)))
        step = step / (root + self._epsilon)
        if _is_adapted(weight):
            step = step + weight_decay * weight.value
            step = step * _ratio(tf.norm(weight.value), tf.norm(step))
        weight.assign_sub(learning_rate * step)


def _is_adapted(weight: keras.Variable) -> bool:
    return len(weight.shape) > 1


def _ratio(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Returns one / other, or 1 where one of them is zero."""
    usable = (one > 0) & (other > 0)
    return tf.where(usable, tf.math.divide_no_nan(one, other), 1.0)
