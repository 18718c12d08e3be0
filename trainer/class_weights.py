"""Weights of the classes in the loss, from how often they occur.

All are scaled so that their mean over the training examples is 1: the learning
rate keeps its meaning.
"""

from collections.abc import Callable, Sequence

import numpy as np

# From examples of each class to factors, one for each.
ClassWeights = Callable[[Sequence[int]], list[float]]


def balanced_weights() -> ClassWeights:
    """Gives every class the same say: weights are as 1 / examples."""
    return lambda counts: _scaled(counts, 1 / np.maximum(counts, 1))


def effective_number_weights(beta: float = 0.999) -> ClassWeights:
    """Weighs a class by the number of examples that differ from each other.

    Of n examples (1 - beta**n) / (1 - beta) are thought to say something new.

    Args:
        beta: In [0, 1): 0 gives all examples the same weight; close to 1 it is
            that of `balanced_weights`.

    Raises:
        ValueError: `beta` is out of range.

    Source: Cui et al. 2019, arXiv:1901.05555.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta={beta} must be in [0, 1), such as 0.999.")

    def weigh(counts: Sequence[int]) -> list[float]:
        effective = 1 - np.power(beta, np.maximum(counts, 1))
        return _scaled(counts, (1 - beta) / effective)

    return weigh


def _scaled(counts: Sequence[int], weights: np.ndarray) -> list[float]:
    mean = np.sum(np.asarray(counts) * weights) / max(np.sum(counts), 1)
    return [float(weight) for weight in weights / mean]
