"""Stochastic depth: whole residual branches left out, example by example.

Source: Huang et al. 2016, "Deep Networks with Stochastic Depth",
https://arxiv.org/abs/1603.09382.
"""

import keras
import tensorflow as tf

from models.layers import Dropout


@keras.saving.register_keras_serializable("lockstep")
class StochasticDepth(Dropout):
    """Leaves a branch out, for some examples of a batch.

    Whether it does is a hash of the seed, the layer's name and the example's
    row in the global batch, as in `layers.Dropout`. A branch that stays is
    divided by `1 - rate`, so that inference needs no other scale.

    Args:
        rate: Share in [0, 1) of the examples that go without the branch.
    """

    def _mask_shape(self, shape: tf.Tensor) -> tf.Tensor:
        """Returns int32 [b, 1, ...]: one draw for each example."""
        return tf.concat([shape[:1], tf.ones_like(shape[1:])], axis=0)


def linear_rates(last: float, blocks: int) -> list[float]:
    """Returns a rate for each block, growing to `last` (section 3.2).

    Args:
        last: Rate of the last block, in [0, 1); 0 for no stochastic depth.
        blocks: How many residual blocks there are.

    Raises:
        ValueError: `last` is out of range.
    """
    if not 0.0 <= last < 1.0:
        raise ValueError(
            f"stochastic_depth={last}: must be at least 0 and below 1; usual: "
            "0.1 to 0.2."
        )
    return [last * number / blocks for number in range(1, blocks + 1)]


def drop(
    branch: keras.KerasTensor, rate: float, name: str
) -> keras.KerasTensor:
    """Returns a branch [b, ...] that some examples go without.

    Args:
        branch: Before it is added to the shortcut.
        rate: Share of the examples in [0, 1); 0 adds no layer.
        name: Of the block.
    """
    if not rate:
        return branch
    return StochasticDepth(rate, name=f"{name}_drop")(branch)
