"""Number formats, and the loss scale that float16 needs.

`mixed_float16` computes in float16 with float32 weights. Small gradients
vanish in float16, so the loss is multiplied by a scale before differentiation
and the gradients are divided by it. The scale is found by trial: it doubles
after a stretch of good steps, and halves when a gradient overflows.
Source: Micikevicius et al. 2017, arXiv:1710.03740.

Whether a step overflowed is decided after the all-reduce, on the same numbers
by every replica; Keras's LossScaleOptimizer looks at one replica's gradients.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import keras
import tensorflow as tf

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]

_INITIAL_SCALE = 2.0**15
_GROWTH_STEPS = 2000
_LARGEST_SCALE = 2.0**24


@contextlib.contextmanager
def dtype_policy(name: Precision) -> Iterator[None]:
    """Makes layers that are built inside compute in the given precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class LossScale:
    """A dynamic loss scale; a fixed 1 when `dynamic` is false.

    Attributes:
        scale: float32 scalar variable, a power of two.
        good_steps: int32 scalar variable, finite steps since the last change.
    """

    def __init__(self, dynamic: bool) -> None:
        self.dynamic = dynamic
        self.scale = tf.Variable(
            _INITIAL_SCALE if dynamic else 1.0, trainable=False, name="scale"
        )
        self.good_steps = tf.Variable(0, trainable=False, name="good_steps")

    def unscale(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the gradients of the loss from those of the scaled loss."""
        if not self.dynamic:
            return list(gradients)
        return [gradient / self.scale for gradient in gradients]

    def update(self, finite: tf.Tensor) -> None:
        """Grows or shrinks the scale after a step.

        Args:
            finite: bool scalar, the same on every replica: whether all
                all-reduced gradients were finite.
        """
        if not self.dynamic:
            return
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grow = good_steps >= _GROWTH_STEPS
        grown = tf.minimum(self.scale * 2, _LARGEST_SCALE)
        shrunk = tf.maximum(self.scale / 2, 1.0)
        self.scale.assign(
            tf.where(finite, tf.where(grow, grown, self.scale), shrunk)
        )
        self.good_steps.assign(tf.where(grow, 0, good_steps))
