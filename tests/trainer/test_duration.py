import pytest

from trainer import duration, errors


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("90 epochs", 900),
        ("1 epoch", 10),
        ("0.25 epochs", 2),
        ("1000 steps", 1000),
        (" 7  step ", 7),
        ("0 steps", 0),
    ],
)
def test_steps(text: str, steps: int) -> None:
    assert duration.parse(text, "x").steps(steps_per_epoch=10.0) == steps


@pytest.mark.parametrize(
    "text", ["", "ten steps", "10", "10 minutes", "-1 steps", "1e3 steps"]
)
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="train.duration=.*90 epochs"):
        duration.parse(text, "train.duration")


def test_refuses_part_of_a_step() -> None:
    with pytest.raises(errors.ConfigError, match="whole number"):
        duration.parse("2.5 steps", "train.log_every")


def test_window() -> None:
    found = duration.parse_window("100 steps at 500 steps", "x", 10.0)
    assert (found.start, found.stop) == (500, 600)
    found = duration.parse_window("0.5 epochs at 2 epochs", "x", 10.0)
    assert (found.start, found.stop) == (20, 25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100 steps", 'x=.100 steps. must say.*"100 steps at 500 steps"'),
        ("100 steps at once", "x='once' is not a duration"),
        ("0 steps at 5 steps", "at least 1 step"),
        ("5 steps at 0 steps", "at least 1 step"),
    ],
)
def test_refuses_what_is_no_window(text: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        duration.parse_window(text, "x", 10.0)
