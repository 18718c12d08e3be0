"""Update rules, applied where gradients are already equal.

`keras.Optimizer.apply` clips before it all-reduces, and all-reduces by itself.
Lockstep has all-reduced, unscaled and clipped before it gets here, so it calls
the public `update_step` of each variable instead: every replica makes the same
update to its own copy, without a second aggregation. The one private name that
this needs is `_iterations`, pinned by tests/trainer/test_optimizers.py.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer import layerwise, optimizers, param_groups


class Updater:
    """An optimizer with its variables, for the weights of one model.

    Args:
        optimizer: Says how; its schedule comes with each update.
        weights: What learns of the model.
        treatments: How each of them does; None: all alike.

    Attributes:
        weights: What it updates, in the order of the gradients.
        variables: The optimizer's own Keras variables: slots and iterations.
    """

    def __init__(
        self,
        optimizer: optimizers.Optimizer,
        weights: Sequence[keras.Variable],
        treatments: Sequence[param_groups.Treatment] | None = None,
    ) -> None:
        self._decoupled = optimizer.decoupled
        self._treatments = treatments or param_groups.alike(
            weights, optimizer.weight_decay
        )
        self.weights = list(weights)
        self._rule = optimizer.rule()
        # Keras's own counter takes the first replica's value, which needs a
        # merge call; that is not possible under the finite check's condition.
        self._rule._iterations = keras.Variable(
            0, dtype="int64", trainable=False, name="iterations"
        )
        self._rule.build(self.weights)

    @property
    def variables(self) -> list[keras.Variable]:
        """The count of updates made, and the slots."""
        # Keras's own counter and learning rate are not used.
        unused = ("iteration", "learning_rate")
        return [v for v in self._rule.variables if v.name not in unused]

    @property
    def updates(self) -> tf.Tensor:
        """How many updates have been made, int64."""
        return self._rule.iterations.value

    def apply(
        self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor
    ) -> None:
        """Updates the weights; to be called by every replica alike.

        Args:
            gradients: One for each weight: float32, all-reduced, finite.
            learning_rate: float32 scalar.
        """
        for weight, gradient, treatment in zip(
            self.weights, gradients, self._treatments, strict=True
        ):
            rate = learning_rate
            if treatment.learning_rate_factor != 1:
                rate = learning_rate * treatment.learning_rate_factor
            self._update(weight, gradient, rate, treatment.weight_decay)
        self._rule.iterations.assign_add(1)

    def _update(
        self,
        weight: keras.Variable,
        gradient: tf.Tensor,
        learning_rate: tf.Tensor,
        decay: float,
    ) -> None:
        if isinstance(self._rule, layerwise.Layerwise):
            self._rule.decayed_step(gradient, weight, learning_rate, decay)
            return
        if decay and self._decoupled:
            weight.assign(weight.value * (1 - learning_rate * decay))
        elif decay:
            gradient = gradient + decay * weight.value
        self._rule.update_step(gradient, weight, learning_rate)
