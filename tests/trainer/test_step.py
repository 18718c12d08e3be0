import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_engine, make_recipe
from tests.trainer import equivalence
from trainer import errors, losses, precision, session


def with_poisoned_gradient(replica: int, value: float) -> losses.Loss:
    """A loss that is infinite, or nan, for the rows of one replica."""

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        index = context.replica_id_in_sync_group
        bad = tf.equal(tf.cast(index, tf.int32), replica)
        factor = tf.where(bad, tf.constant(value), 1.0)
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return plain * factor

    return losses.Loss(loss)


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


@pytest.mark.parametrize("batch_norm", ["local", "sync"])
def test_a_skipped_step_leaves_the_statistics_alone(batch_norm: str) -> None:
    recipe = make_recipe(
        *equivalence.SMALL_RESNET,
        'train.precision = "mixed_float16"',
        f'train.batch_norm = "{batch_norm}"',
        "train.ema_decay = 0.9",
    )
    # One infinite pixel in the third step, on the first replica.
    recipe = dataclasses.replace(recipe, augment=[equivalence.poison])
    parts = session.build(recipe, make_engine(2))
    take_steps = parts.take_steps(0)
    assert take_steps(2)["skipped"] == 0
    before = parts.state.arrays()
    assert take_steps(1)["skipped"] == 1
    after = parts.state.arrays()
    kept = [n for n in before if n.startswith(("model/", "ema/"))]
    assert any("moving_variance" in name for name in kept)
    for name in kept:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert take_steps(1)["skipped"] == 0


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


def test_a_row_of_mask_0_counts_as_zero_loss() -> None:
    """The divisor stays the size of the global batch: 16, not 14."""
    parts = session.build(make_recipe(), make_engine(1))
    batch = next(parts._batches(0))
    mask = np.ones([16], np.float32)
    mask[[3, 7]] = 0
    gradients, sums = parts._train_step(parts.spans[0])._gradients(
        parts.state, {**batch, "mask": tf.constant(mask)}
    )
    kept = np.flatnonzero(mask)
    with tf.GradientTape() as tape:
        images = parts.preprocess(tf.gather(batch["image"], kept))
        logits = parts.state.model(images, training=True)
        losses = parts.recipe.loss(tf.gather(batch["label"], kept), logits)
        objective = tf.reduce_sum(losses) / 16
    weights = [v.value for v in parts.state.model.trainable_variables]
    for found, expected in zip(
        gradients, tape.gradient(objective, weights), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert float(sums["examples"]) == 14
    assert float(sums["loss"]) == pytest.approx(float(objective) * 16, 1e-5)


EVERYTHING = (
    "train.augment = [@random_crop(), @random_flip(), @cutout()]",
    "random_crop.padding = 2",
    "cutout.size = 3",
    "simple_cnn.dropout = 0.5",
    "simple_cnn.l2 = 0.001",
    "sgd.clip_norm = 1.0",
    "sgd.weight_decay = 0.01",
    "train.ema_decay = 0.9",
    'train.precision = "mixed_bfloat16"',
)
RESNET = (
    *EVERYTHING,
    "train.model = @small_resnet",
    "small_resnet.depth = 8",
    "small_resnet.width = 4",
)


@pytest.mark.parametrize(
    ("bindings", "accumulate_steps"),
    [
        pytest.param(EVERYTHING, 1, id="cnn-1"),
        pytest.param(RESNET, 2, id="resnet-2"),
        pytest.param(EVERYTHING, 2, id="cnn-2", marks=pytest.mark.long),
        pytest.param(RESNET, 1, id="resnet-1", marks=pytest.mark.long),
    ],
)
def test_xla_compiles_the_whole_step(bindings, accumulate_steps: int) -> None:
    """What a TPU asks for: no dynamic shape, no op that XLA does not know."""
    recipe = make_recipe(
        *bindings, f"train.accumulate_steps = {accumulate_steps}"
    )
    parts = session.build(recipe, make_engine(1))
    train_step = parts._train_step(parts.spans[0])
    batch = next(parts._batches(0))
    compiled = tf.function(
        lambda: train_step(parts.state, batch),
        jit_compile=True,
        autograph=False,
    )
    losses = [float(compiled()["loss"]) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert int(parts.state.step.numpy()) == 20


def test_jit_compile_is_what_compiles_the_step() -> None:
    kinds = {}
    for jit_compile in (True, False):
        recipe = make_recipe(f"train.jit_compile = {jit_compile}")
        parts = session.build(recipe, make_engine(1))
        train_step = parts._train_step(parts.spans[0])
        batch = next(parts._batches(0))
        graph = tf.function(
            functools.partial(train_step, parts.state, batch), autograph=False
        ).get_concrete_function()
        kinds[jit_compile] = [
            op
            for op in graph.graph.get_operations()
            if "_XlaMustCompile" in op.node_def.attr
            and op.node_def.attr["_XlaMustCompile"].b
        ]
    assert len(kinds[True]) == 2
    assert not kinds[False]


def test_jit_compile_does_not_go_with_sync_batch_norm() -> None:
    recipe = make_recipe(
        "train.jit_compile = True", 'train.batch_norm = "sync"'
    )
    with pytest.raises(errors.ConfigError, match="jit_compile.*batch_norm"):
        session.build(recipe, make_engine(2))
    session.build(recipe, make_engine(1))


@pytest.mark.parametrize(
    ("number_format", "precision_"),
    [("float16", "mixed_float16"), ("bfloat16", "float32")],
)
@pytest.mark.parametrize("replicas", [1, 2])
def test_compressed_gradients_are_near_the_exact_ones(
    number_format: str, precision_: str, replicas: int
) -> None:
    weights = {}
    for chosen in ("none", number_format):
        recipe = make_recipe(
            f"train.gradient_compression = '{chosen}'",
            f"train.precision = '{precision_}'",
        )
        parts = session.build(recipe, make_engine(replicas))
        parts.take_steps(0)(5)
        weights[chosen] = np.concatenate(
            [np.ravel(v) for v in parts.state.model.trainable_variables]
        )
    difference = np.abs(weights[number_format] - weights["none"]).max()
    assert 0 < difference < 2e-3


def test_float16_gradients_need_a_loss_scale() -> None:
    with pytest.raises(errors.ConfigError, match='float16.*use "bfloat16"'):
        make_recipe("train.gradient_compression = 'float16'")
