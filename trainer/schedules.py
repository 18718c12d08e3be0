"""Learning rate as a function of the step, for a run of known length."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer import duration

Schedule = Callable[[tf.Tensor, duration.Horizon], tf.Tensor]
"""From the step (int64 scalar, 0 for the first) to a float32 scalar."""


def constant_schedule(value: float, warmup: str = "0 steps") -> Schedule:
    """Keeps one learning rate.

    Args:
        value: The learning rate, above 0.
        warmup: Time over which it rises from 0 in a straight line.
    """
    _check_positive("value", value)

    def rate(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        return tf.constant(value)

    return _warmed_up(warmup, rate)


def cosine_schedule(
    peak: float, warmup: str = "0 steps", final: float = 0.0
) -> Schedule:
    """Falls from `peak` to `final` along half a cosine.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, without restarts.

    Args:
        peak: Highest learning rate, above 0.
        warmup: Time over which it rises from 0 in a straight line.
        final: Learning rate after the last step, in [0, peak].
    """
    _check_positive("peak", peak)
    if not 0 <= final <= peak:
        raise ValueError(
            f"final={final} must be between 0 and peak={peak}: the schedule "
            "only falls."
        )
    ramp = duration.parse(warmup, "warmup")

    def rate(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        start = ramp.steps(horizon.steps_per_epoch)
        span = max(horizon.total_steps - start, 1)
        progress = tf.clip_by_value(
            tf.cast(step - start, tf.float32) / span, 0, 1
        )
        return final + (peak - final) * 0.5 * (
            1 + tf.cos(3.14159265 * progress)
        )

    return _warmed_up(warmup, rate)


def stepwise_schedule(
    values: Sequence[float],
    boundaries: Sequence[str],
    warmup: str = "0 steps",
) -> Schedule:
    """Changes the learning rate at given times.

    Args:
        values: The learning rates, each above 0; one more than `boundaries`.
        boundaries: Times, rising, at which the next value begins, for example
            ``["30 epochs", "60 epochs"]``.
        warmup: Time over which the rate rises from 0 in a straight line.
    """
    if len(values) != len(boundaries) + 1:
        raise ValueError(
            f"values={list(values)} and boundaries={list(boundaries)}: there "
            f"must be one value more than boundaries, not {len(values)} for "
            f"{len(boundaries)}."
        )
    for value in values:
        _check_positive("values", value)
    times = [duration.parse(text, "boundaries") for text in boundaries]

    def rate(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        starts = [t.steps(horizon.steps_per_epoch) for t in times]
        if sorted(set(starts)) != starts:
            raise ValueError(
                f"boundaries={list(boundaries)} are steps {starts}; each must "
                "be later than the one before."
            )
        passed = tf.reduce_sum(
            tf.cast(step >= tf.constant(starts, tf.int64), tf.int32)
        )
        return tf.gather(tf.constant(list(values), tf.float32), passed)

    return _warmed_up(warmup, rate)


def _warmed_up(warmup: str, rate: Schedule) -> Schedule:
    """Multiplies a schedule by a rise from 0 over the warm-up."""
    ramp = duration.parse(warmup, "warmup")

    @functools.wraps(rate)
    def warmed_up(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        steps = ramp.steps(horizon.steps_per_epoch)
        value = rate(step, horizon)
        if not steps:
            return value
        # The first step already learns: 1 / steps, not 0.
        return value * tf.minimum(tf.cast(step + 1, tf.float32) / steps, 1.0)

    return warmed_up


def _check_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name}={value} must be above 0.")
