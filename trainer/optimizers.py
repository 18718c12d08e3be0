"""Optimizers as a gin file says them: a rule, its learning rate, its decay."""

import dataclasses
from collections.abc import Callable, Sequence

import keras

from trainer import layerwise, param_groups, schedules


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
            learning rate (AdamW), or is added to the gradient (L2). A
            `layerwise.Layerwise` rule has its own way.
        clip_norm: Largest global norm of the all-reduced gradients, or None.
        groups: Weights with a learning rate or decay of their own; the first
            that matches a weight decides.
        layer_decay: In (0, 1]: each block's learning rate is this times that
            of the block after it, see `param_groups.treatments`.
    """

    rule: Callable[[], keras.optimizers.Optimizer]
    learning_rate: schedules.Schedule
    weight_decay: float = 0.0
    decoupled: bool = False
    clip_norm: float | None = None
    groups: Sequence[param_groups.ParamGroup] = ()
    layer_decay: float = 1.0

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
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay={self.layer_decay} must be above 0 and at most "
                "1, such as 0.75; 1 gives all blocks one learning rate."
            )


def sgd(
    learning_rate: schedules.Schedule,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    groups: Sequence[param_groups.ParamGroup] = (),
    layer_decay: float = 1.0,
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
        groups: Weights with a learning rate or decay of their own.
        layer_decay: In (0, 1]: share of its learning rate that each block
            gives the block before it.
    """
    _check_momentum(momentum)
    return Optimizer(
        lambda: keras.optimizers.SGD(
            momentum=float(momentum),
            nesterov=nesterov and momentum > 0,
            name="sgd",
        ),
        learning_rate,
        weight_decay,
        clip_norm=clip_norm,
        groups=groups,
        layer_decay=layer_decay,
    )


def adam(
    learning_rate: schedules.Schedule,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
    groups: Sequence[param_groups.ParamGroup] = (),
    layer_decay: float = 1.0,
) -> Optimizer:
    """Adam without weight decay (Kingma and Ba 2014, arXiv:1412.6980).

    Args:
        learning_rate: The schedule.
        beta_1: Decay of the mean of gradients, in [0, 1).
        beta_2: Decay of the mean of squared gradients, in [0, 1).
        epsilon: Added to the denominator, above 0.
        clip_norm: Largest global norm of the gradients, or None.
        groups: Weights with a learning rate or decay of their own.
        layer_decay: In (0, 1]: share of its learning rate that each block
            gives the block before it.
    """
    return adamw(
        learning_rate,
        0.0,
        beta_1,
        beta_2,
        epsilon,
        clip_norm,
        groups,
        layer_decay,
    )


def adamw(
    learning_rate: schedules.Schedule,
    weight_decay: float = 0.01,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
    groups: Sequence[param_groups.ParamGroup] = (),
    layer_decay: float = 1.0,
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
        groups: Weights with a learning rate or decay of their own.
        layer_decay: In (0, 1]: share of its learning rate that each block
            gives the block before it.
    """
    _check_adam(beta_1, beta_2, epsilon)
    return Optimizer(
        lambda: keras.optimizers.Adam(
            beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, name="adam"
        ),
        learning_rate,
        weight_decay,
        decoupled=True,
        clip_norm=clip_norm,
        groups=groups,
        layer_decay=layer_decay,
    )


def lars(
    learning_rate: schedules.Schedule,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    trust_coefficient: float = 0.001,
    clip_norm: float | None = None,
    groups: Sequence[param_groups.ParamGroup] = (),
    layer_decay: float = 1.0,
) -> Optimizer:
    """SGD whose steps are scaled to the size of each weight, for huge batches.

    Source: You et al. 2017, arXiv:1708.03888. Biases, scales and shifts take
    the plain step of SGD with momentum.

    Args:
        learning_rate: The schedule; its peak is far above that of `sgd`, such
            as 10 for 16,384 rows, often with `polynomial_schedule`.
        momentum: In [0, 1).
        weight_decay: At least 0.
        trust_coefficient: Above 0: length of a step beside that of the weight,
            at a learning rate of 1.
        clip_norm: Largest global norm of the gradients, or None.
        groups: Weights with a learning rate or decay of their own.
        layer_decay: In (0, 1]: share of its learning rate that each block
            gives the block before it.
    """
    _check_momentum(momentum)
    if trust_coefficient <= 0:
        raise ValueError(
            f"trust_coefficient={trust_coefficient} must be above 0; the "
            "paper has 0.001."
        )
    return Optimizer(
        lambda: layerwise.LARS(momentum, trust_coefficient),
        learning_rate,
        weight_decay,
        clip_norm=clip_norm,
        groups=groups,
        layer_decay=layer_decay,
    )


def lamb(
    learning_rate: schedules.Schedule,
    weight_decay: float = 0.01,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-6,
    clip_norm: float | None = None,
    groups: Sequence[param_groups.ParamGroup] = (),
    layer_decay: float = 1.0,
) -> Optimizer:
    """Adam whose steps are scaled to the size of each weight.

    Source: You et al. 2019, arXiv:1904.00962. Unlike Keras's, weight decay is
    part of the step that is scaled, as in the paper.

    Args:
        learning_rate: The schedule.
        weight_decay: At least 0.
        beta_1: Decay of the mean of gradients, in [0, 1).
        beta_2: Decay of the mean of squared gradients, in [0, 1).
        epsilon: Added to the denominator, above 0.
        clip_norm: Largest global norm of the gradients, or None.
        groups: Weights with a learning rate or decay of their own.
        layer_decay: In (0, 1]: share of its learning rate that each block
            gives the block before it.
    """
    _check_adam(beta_1, beta_2, epsilon)
    return Optimizer(
        lambda: layerwise.LAMB(beta_1, beta_2, epsilon),
        learning_rate,
        weight_decay,
        clip_norm=clip_norm,
        groups=groups,
        layer_decay=layer_decay,
    )


def _check_momentum(momentum: float) -> None:
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum} must be in [0, 1).")


def _check_adam(beta_1: float, beta_2: float, epsilon: float) -> None:
    for name, value in (("beta_1", beta_1), ("beta_2", beta_2)):
        if not 0 <= value < 1:
            raise ValueError(f"{name}={value} must be in [0, 1).")
    if epsilon <= 0:
        raise ValueError(f"epsilon={epsilon} must be above 0.")
