"""Exponential moving average of the weights, for evaluation."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf


class Average:
    """A running average of a model's variables; make it in the engine's scope.

    It is the exact exponentially weighted mean of the weights after each
    update so far: the bias correction of Adam (Kingma and Ba 2014, section 3,
    arXiv:1412.6980), written as a share of the old average that grows from 0
    to `decay`. Polyak and Juditsky 1992 give the reasons for averaging.

    Moving statistics of batch norm are averaged as well, since they belong to
    the weights.

    Attributes:
        sources: The model's floating-point variables.
        variables: Their averages, in the same order.
    """

    def __init__(
        self, decay: float, model_variables: Sequence[keras.Variable]
    ) -> None:
        self._log_decay = math.log(decay)
        self.sources = [v for v in model_variables if v.value.dtype.is_floating]
        self.variables = [
            tf.Variable(
                tf.convert_to_tensor(v.value), trainable=False, name="average"
            )
            for v in self.sources
        ]

    def update(self, updates: tf.Tensor) -> None:
        """Takes the weights as they are into the average.

        Args:
            updates: How many updates the weights have had, at least 1.
        """
        count = tf.cast(updates, tf.float32)
        # (1 - decay) / (1 - decay ** count), without cancellation.
        new_share = math.expm1(self._log_decay) / tf.math.expm1(
            count * self._log_decay
        )
        for source, average in self.pairs:
            value = source.value
            average.assign_add(new_share * (value - average.read_value()))

    @property
    def pairs(self) -> list[tuple[keras.Variable, tf.Variable]]:
        """The model's variables, each with its average."""
        return list(zip(self.sources, self.variables, strict=True))

    def logits(self, model: keras.Model, images: tf.Tensor) -> tf.Tensor:
        """Returns what the model infers with the averaged variables."""
        averages = {
            id(source): average.read_value() for source, average in self.pairs
        }
        trainable, rest = (
            [averages.get(id(v), v.value) for v in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
            )
        )
        return model.stateless_call(trainable, rest, images, training=False)[0]
