import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_engine, make_recipe
from trainer import precision, session


def with_poisoned_gradient(replica: int, value: float):
    """A loss that is infinite, or nan, for the rows of one replica."""

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        index = context.replica_id_in_sync_group
        bad = tf.equal(tf.cast(index, tf.int32), replica)
        factor = tf.where(bad, tf.constant(value), 1.0)
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return plain * factor

    return loss


@pytest.mark.parametrize("replica", [0, 1])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_one_bad_replica_stops_the_update_on_all(
    replica: int, value: float
) -> None:
    recipe = make_recipe('train.precision = "mixed_float16"')
    recipe = dataclasses.replace(
        recipe, loss=with_poisoned_gradient(replica, value)
    )
    parts = session.build(recipe, make_engine(2))
    before = {
        k: np.asarray(v)
        for k, v in parts.state.variables().items()
        if k.startswith(("model", "optimizer"))
    }
    values = parts.take_steps(0)(3)
    assert values["skipped"] == 3
    after = parts.state.variables()
    for name, old in before.items():
        for copy in parts.engine.local_results(after[name]):
            np.testing.assert_array_equal(copy, old, err_msg=name)
    for copy in parts.engine.local_results(after["loss_scale/scale"]):
        assert float(copy) == 2.0**12
    assert int(after["step"].numpy()) == 3


def test_loss_scale_grows_after_a_stretch_of_good_steps() -> None:
    scale = precision.LossScale(dynamic=True)
    for _ in range(1999):
        scale.update(tf.constant(True))
    assert float(scale.scale) == 2.0**15
    scale.update(tf.constant(True))
    assert float(scale.scale) == 2.0**16
    assert int(scale.good_steps) == 0
    scale.update(tf.constant(False))
    assert float(scale.scale) == 2.0**15


def test_loss_scale_stays_within_bounds() -> None:
    scale = precision.LossScale(dynamic=True)
    for _ in range(40):
        scale.update(tf.constant(False))
    assert float(scale.scale) == 1.0


@pytest.mark.parametrize("number_format", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_like_float32(number_format: str) -> None:
    losses = {}
    for chosen in ("float32", number_format):
        recipe = make_recipe(f"train.precision = '{chosen}'")
        parts = session.build(recipe, make_engine(1))
        take = parts.take_steps(0)
        first = take(1)
        last = [take(1) for _ in range(30)][-1]
        losses[chosen] = last["loss"]
        assert last["loss"] < first["loss"] * 0.8
        dtypes = {v.dtype for v in parts.state.model.trainable_variables}
        assert dtypes == {"float32"}
    assert losses[number_format] == pytest.approx(losses["float32"], rel=0.1)


def test_reported_loss_is_the_mean_of_the_batch() -> None:
    parts = session.build(make_recipe(), make_engine(1))
    batch = next(parts._batches(0))
    logits = parts.state.model(parts.preprocess(batch["image"]))
    expected = parts.recipe.loss(batch["label"], logits)
    values = parts.take_steps(0)(1)
    assert values["examples"] == 16
    assert values["loss"] == pytest.approx(float(tf.reduce_sum(expected)), 1e-5)
