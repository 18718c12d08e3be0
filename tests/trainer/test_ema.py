import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_engine, make_recipe
from trainer import ema, errors, session


def variable(value: float) -> keras.Variable:
    return keras.Variable([value], trainable=True)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_it_is_the_weighted_mean_of_all_values_so_far(decay: float) -> None:
    source = variable(99.0)
    average = ema.Average(decay, [source])
    values = [3.0, -1.0, 4.0, 1.0, 5.0, -9.0]
    for count, value in enumerate(values, start=1):
        source.assign([value])
        average.update(tf.constant(count, tf.int64))
        weights = decay ** np.arange(count)[::-1]
        expected = np.average(values[:count], weights=weights)
        assert average.variables[0].numpy()[0] == pytest.approx(expected, 1e-5)


def test_after_many_updates_the_decay_is_what_was_asked_for() -> None:
    source = variable(0.0)
    average = ema.Average(0.99, [source])
    average.update(tf.constant(1))
    source.assign([1.0])
    average.update(tf.constant(100_000))
    assert average.variables[0].numpy()[0] == pytest.approx(0.01, 1e-4)


def test_counters_are_not_averaged() -> None:
    count = keras.Variable(7, dtype="int32", trainable=False)
    assert not ema.Average(0.9, [count]).variables


BATCH_NORM = (
    "train.model = @small_resnet",
    "small_resnet.depth = 8",
    "small_resnet.width = 4",
)


def test_evaluation_uses_the_average_and_leaves_the_weights_alone() -> None:
    recipe = make_recipe("train.ema_decay = 0.5", *BATCH_NORM)
    parts = session.build(recipe, make_engine(2))
    parts.take_steps(0)(7)
    model, average = parts.state.model, parts.state.average
    weights = [np.asarray(v) for v in model.variables]
    averages = [np.asarray(v) for v in average.variables]
    evaluated = parts.evaluator(recipe.eval_data)(7, iter).metrics
    for variable_, value in zip(model.variables, weights, strict=True):
        np.testing.assert_array_equal(variable_, value)

    plain = session.build(make_recipe(*BATCH_NORM), make_engine(1))
    for variable_, value in zip(
        plain.state.model.variables, averages, strict=True
    ):
        variable_.assign(value)
    expected = plain.evaluator(recipe.eval_data)(7, iter).metrics
    assert evaluated["loss"] == pytest.approx(expected["loss"], 1e-5)

    for variable_, value in zip(
        plain.state.model.variables, weights, strict=True
    ):
        variable_.assign(value)
    other = plain.evaluator(recipe.eval_data)(7, iter).metrics
    assert abs(evaluated["loss"] - other["loss"]) > 1e-3


def test_a_skipped_step_is_not_averaged() -> None:
    recipe = make_recipe(
        'train.precision = "mixed_float16"',
        "train.ema_decay = 0.9",
        "constant_schedule.value = 1.0",
    )
    parts = session.build(recipe, make_engine(1))
    # The largest scale overflows float16.
    parts.state.loss_scale.scale.assign(2.0**127)
    before = [np.asarray(v) for v in parts.state.average.variables]
    assert parts.take_steps(0)(1)["skipped"] == 1
    for average, value in zip(
        parts.state.average.variables, before, strict=True
    ):
        np.testing.assert_array_equal(average, value)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(errors.ConfigError, match=f"ema_decay={decay}.*0.999"):
        make_recipe(f"train.ema_decay = {decay}")
