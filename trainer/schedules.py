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
    _check_final(final, peak)
    ramp = duration.parse(warmup, "warmup")

    def rate(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        start = ramp.steps(horizon.steps_per_epoch)
        progress = _progress(step, start, horizon.total_steps)
        return _cosine(progress, final, peak)

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


def polynomial_schedule(
    peak: float,
    warmup: str = "0 steps",
    final: float = 0.0,
    power: float = 2.0,
) -> Schedule:
    """Falls from `peak` to `final` as a power of the time that is left.

    The schedule of LARS (You et al. 2017, arXiv:1708.03888, section 5), with
    power 2; with power 1 a straight line.

    Args:
        peak: Highest learning rate, above 0.
        warmup: Time over which it rises from 0 in a straight line.
        final: Learning rate after the last step, in [0, peak].
        power: Above 0.
    """
    _check_positive("peak", peak)
    _check_positive("power", power)
    _check_final(final, peak)
    ramp = duration.parse(warmup, "warmup")

    def rate(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        start = ramp.steps(horizon.steps_per_epoch)
        left = 1 - _progress(step, start, horizon.total_steps)
        return final + (peak - final) * tf.pow(left, power)

    return _warmed_up(warmup, rate)


def one_cycle_schedule(
    peak: float,
    rise: float = 0.3,
    start_factor: float = 0.04,
    final_factor: float = 4e-6,
) -> Schedule:
    """Rises to `peak` and falls far below its start, each along half a cosine.

    Source: Smith and Topin 2017, arXiv:1708.07120, in the form of fastai and of
    PyTorch's OneCycleLR, whose defaults these are. Momentum stays as it is.

    Args:
        peak: Highest learning rate, above 0.
        rise: Share of the run that it rises, in (0, 1).
        start_factor: Learning rate of the first step, as a share of the peak,
            in (0, 1].
        final_factor: That of the last step, in [0, 1].
    """
    _check_positive("peak", peak)
    if not 0 < rise < 1:
        raise ValueError(f"rise={rise} must be above 0 and below 1.")
    if not 0 < start_factor <= 1 or not 0 <= final_factor <= 1:
        raise ValueError(
            f"start_factor={start_factor} and final_factor={final_factor} are "
            "shares of the peak: at most 1, and the first above 0."
        )

    def rate(step: tf.Tensor, horizon: duration.Horizon) -> tf.Tensor:
        last = max(horizon.total_steps - 1, 1)
        top = rise * last
        now = tf.cast(step, tf.float32)
        up = tf.minimum(now / top, 1.0)
        down = tf.clip_by_value((now - top) / (last - top), 0.0, 1.0)
        rising = _cosine(1 - up, start_factor)
        return peak * tf.where(now <= top, rising, _cosine(down, final_factor))

    return rate


def _cosine(progress: tf.Tensor, final: float, peak: float = 1.0) -> tf.Tensor:
    """Returns what lies between `peak`, at 0, and `final`, at 1."""
    return final + (peak - final) * 0.5 * (1 + tf.cos(3.14159265 * progress))


def _progress(step: tf.Tensor, start: int, end: int) -> tf.Tensor:
    """Returns the share of the time between two steps that has passed."""
    span = max(end - start, 1)
    return tf.clip_by_value(tf.cast(step - start, tf.float32) / span, 0, 1)


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


def _check_final(final: float, peak: float) -> None:
    if not 0 <= final <= peak:
        raise ValueError(
            f"final={final} must be between 0 and peak={peak}: the schedule "
            "only falls."
        )


def _check_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name}={value} must be above 0.")
