"""Optimizers: Keras's update rules, applied where gradients are already equal.

`keras.Optimizer.apply` clips before it all-reduces, and all-reduces by itself.
Lockstep has all-reduced, unscaled and clipped before it gets here, so it calls
the public `update_step` of each variable instead: every replica makes the same
update to its own copy, without a second aggregation. The one private name that
this needs is `_iterations`, pinned by tests/trainer/test_optimizers.py.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from trainer import schedules


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What a gin file says of the optimizer; no variables yet.

    Attributes:
        rule: Makes the Keras optimizer whose `update_step` is used; with a
            name, which stands in checkpoints.
        learning_rate: The schedule.
        weight_decay: Factor, at least 0, for variables of two or more
            dimensions; biases, and batch norm's scales and shifts, are spared.
        decoupled: Whether decay shrinks the weights directly, times the
            learning rate (AdamW), or is added to the gradient (L2).
        clip_norm: Largest global norm of the all-reduced gradients, or None.
    """

    rule: Callable[[], keras.optimizers.Optimizer]
    learning_rate: schedules.Schedule
    weight_decay: float = 0.0
    decoupled: bool = False
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.weight_decay < 0:
            raise ValueError(
                f"weight_decay={self.weight_decay} must be at least 0."
            )
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(
                f"clip_norm={self.clip_norm} must be above 0, or None for no "
                "clipping."
            )


def sgd(
    learning_rate: schedules.Schedule,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> Optimizer:
    """Stochastic gradient descent with momentum.

    Weight decay is added to the gradient, as in the papers that publish
    results with it (He et al. 2015) and in PyTorch.

    Args:
        learning_rate: The schedule.
        momentum: In [0, 1).
        nesterov: Whether to look ahead (Nesterov 1983; Sutskever et al. 2013).
        weight_decay: At least 0; 1e-4 is usual.
        clip_norm: Largest global norm of the gradients, or None.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum} must be in [0, 1).")
    return Optimizer(
        lambda: keras.optimizers.SGD(
            momentum=float(momentum),
            nesterov=nesterov and momentum > 0,
            name="sgd",
        ),
        learning_rate,
        weight_decay,
        clip_norm=clip_norm,
    )


def adam(
    learning_rate: schedules.Schedule,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
) -> Optimizer:
    """Adam without weight decay (Kingma and Ba 2014, arXiv:1412.6980).

    Args:
        learning_rate: The schedule.
        beta_1: Decay of the mean of gradients, in [0, 1).
        beta_2: Decay of the mean of squared gradients, in [0, 1).
        epsilon: Added to the denominator, above 0.
        clip_norm: Largest global norm of the gradients, or None.
    """
    return adamw(learning_rate, 0.0, beta_1, beta_2, epsilon, clip_norm)


def adamw(
    learning_rate: schedules.Schedule,
    weight_decay: float = 0.01,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017).

    Each step shrinks the weights by learning_rate * weight_decay
    (arXiv:1711.05101, as in PyTorch).

    Args:
        learning_rate: The schedule.
        weight_decay: At least 0.
        beta_1: Decay of the mean of gradients, in [0, 1).
        beta_2: Decay of the mean of squared gradients, in [0, 1).
        epsilon: Added to the denominator, above 0.
        clip_norm: Largest global norm of the gradients, or None.
    """
    for name, value in (("beta_1", beta_1), ("beta_2", beta_2)):
        if not 0 <= value < 1:
            raise ValueError(f"{name}={value} must be in [0, 1).")
    if epsilon <= 0:
        raise ValueError(f"epsilon={epsilon} must be above 0.")
    return Optimizer(
        lambda: keras.optimizers.Adam(
            beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, name="adam"
        ),
        learning_rate,
        weight_decay,
        decoupled=True,
        clip_norm=clip_norm,
    )


class Updater:
    """An optimizer with its variables, for the weights of one model.

    Attributes:
        weights: What it updates, in the order of the gradients.
        variables: The optimizer's own Keras variables: slots and iterations.
    """

    def __init__(
        self, optimizer: Optimizer, weights: Sequence[keras.Variable]
    ) -> None:
        self._optimizer = optimizer
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
        decay = self._optimizer.weight_decay
        for weight, gradient in zip(self.weights, gradients, strict=True):
            if decay and len(weight.shape) > 1:
                if self._optimizer.decoupled:
                    shrunk = weight.value * (1 - learning_rate * decay)
                    weight.assign(shrunk)
                else:
                    gradient = gradient + decay * weight.value
            self._rule.update_step(gradient, weight, learning_rate)
        self._rule.iterations.assign_add(1)
