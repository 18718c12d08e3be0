import math

import pytest
import tensorflow as tf

from trainer import duration, errors, schedules

HORIZON = duration.Horizon(total_steps=100, steps_per_epoch=10.0)


def values(schedule: schedules.Schedule, *steps: int) -> list[float]:
    return [float(schedule(tf.constant(s, tf.int64), HORIZON)) for s in steps]


def test_constant_with_warmup() -> None:
    rate = schedules.constant_schedule(0.5, warmup="5 steps")
    assert values(rate, 0, 1, 4, 5, 99) == pytest.approx(
        [0.1, 0.2, 0.5, 0.5, 0.5]
    )


def test_cosine_follows_its_formula() -> None:
    rate = schedules.cosine_schedule(peak=2.0, warmup="1 epoch", final=0.2)
    middle = 0.2 + 1.8 * 0.5 * (1 + math.cos(math.pi * 30 / 90))
    assert values(rate, 0, 10, 40, 100, 500) == pytest.approx(
        [0.2, 2.0, middle, 0.2, 0.2], abs=1e-6
    )


def test_stepwise_changes_at_its_boundaries() -> None:
    rate = schedules.stepwise_schedule(
        [1.0, 0.1, 0.01], ["3 epochs", "60 steps"]
    )
    assert values(rate, 0, 29, 30, 59, 60, 99) == pytest.approx(
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    )


def test_polynomial_follows_its_formula() -> None:
    rate = schedules.polynomial_schedule(
        peak=2.0, warmup="1 epoch", final=0.2, power=3.0
    )
    middle = 0.2 + 1.8 * (1 - 30 / 90) ** 3
    assert values(rate, 0, 9, 10, 40, 100, 500) == pytest.approx(
        [0.2, 2.0, 2.0, middle, 0.2, 0.2], abs=1e-6
    )


def one_cycle_of_pytorch(step: int) -> float:
    """OneCycleLR(max_lr=2, total_steps=100), from its documentation."""

    def annealed(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)

    start, top = 2.0 / 25, 0.3 * 100 - 1
    if step <= top:
        return annealed(start, 2.0, step / top)
    return annealed(2.0, start / 1e4, (step - top) / (99 - top))


def test_one_cycle_is_pytorch_s() -> None:
    # PyTorch counts its steps of rising from 1: 29 of 99, not 29.7.
    rate = schedules.one_cycle_schedule(2.0, rise=29 / 99)
    steps = (0, 1, 15, 29, 30, 60, 98, 99)
    expected = [one_cycle_of_pytorch(step) for step in steps]
    assert values(rate, *steps) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert max(values(rate, *range(100))) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.polynomial_schedule(1.0, power=0.0), "power=0.0"),
        (lambda: schedules.polynomial_schedule(1.0, final=2.0), "final=2.0"),
        (lambda: schedules.one_cycle_schedule(1.0, rise=1.0), "rise=1.0"),
        (
            lambda: schedules.one_cycle_schedule(1.0, start_factor=0.0),
            "start_factor=0.0",
        ),
        (lambda: schedules.constant_schedule(0.0), "value=0.0"),
        (lambda: schedules.cosine_schedule(1.0, final=2.0), "final=2.0"),
        (
            lambda: schedules.cosine_schedule(1.0, warmup="soon"),
            "warmup='soon'",
        ),
        (
            lambda: schedules.stepwise_schedule([1.0], ["1 epoch"]),
            "one value more",
        ),
        (
            lambda: schedules.stepwise_schedule([1.0, -1.0], ["1 epoch"]),
            "values=-1.0",
        ),
    ],
)
def test_refuses_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_boundaries_must_rise() -> None:
    rate = schedules.stepwise_schedule(
        [3.0, 2.0, 1.0], ["2 epochs", "20 steps"]
    )
    with pytest.raises(ValueError, match=r"steps \[20, 20\]"):
        values(rate, 0)


def test_warmup_error_is_a_config_error() -> None:
    with pytest.raises(errors.ConfigError):
        schedules.cosine_schedule(1.0, warmup="x")
