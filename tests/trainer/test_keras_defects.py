"""What Keras 3 does under tf.distribute, and that our comparison sees it.

Each test trains as Keras would and shows that one device and two replicas then
come apart, or that Keras cannot train at all: the equivalence matrix would fail
if our step did the same. When one of these tests fails, Keras has changed.
"""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest

from tests.conftest import REPO, make_engine, make_recipe
from tests.trainer import equivalence
from trainer import loop, session, statistics


def train_by_keras(
    replicas: int,
    make_optimizer: Callable[[], keras.optimizers.Optimizer],
    augment=(),
) -> np.ndarray:
    """Ten steps with `optimizer.apply` in place of ours; all weights."""
    recipe = dataclasses.replace(make_recipe(), augment=augment)
    parts = session.build(recipe, make_engine(replicas))
    ours = parts._train_step(parts.spans[0])
    weights = parts.state.model.trainable_variables
    with parts.engine.scope():
        optimizer = make_optimizer()
        optimizer.build(weights)

    def keras_step(state, batch):
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            state.loss_scale.scale.assign(optimizer.dynamic_scale)
        gradients, sums = ours._gradients(state, batch)
        optimizer.apply(gradients, weights)
        state.step.assign_add(1)
        zero = sums["loss"] * 0
        return sums | {
            "gradient_norm": zero,
            "learning_rate": zero,
            "skipped": zero,
            "skipped_in_a_row": zero,
        }

    keras_step.synchronises = False
    take_steps = loop.compile_steps(
        parts.engine, parts.state, keras_step, parts._batches(0)
    )
    take_steps(equivalence.STEPS)
    return np.concatenate([np.ravel(v) for v in weights])


def sgd(**kwargs) -> Callable[[], keras.optimizers.Optimizer]:
    return functools.partial(
        keras.optimizers.SGD, 0.05, momentum=0.9, nesterov=True, **kwargs
    )


def test_without_its_defects_keras_agrees() -> None:
    """The way of comparing finds no difference where there is none."""
    one, two = train_by_keras(1, sgd()), train_by_keras(2, sgd())
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "clipping",
    [{"global_clipnorm": 0.1}, {"clipnorm": 0.1}, {"clipvalue": 0.01}],
)
def test_keras_clips_before_it_adds_up(clipping) -> None:
    one = train_by_keras(1, sgd(**clipping))
    two = train_by_keras(2, sgd(**clipping))
    assert np.abs(two - one).max() > 1e-3


def test_keras_loss_scale_looks_at_one_replica() -> None:
    def train(replicas: int) -> np.ndarray:
        def scaled() -> keras.optimizers.Optimizer:
            return keras.optimizers.LossScaleOptimizer(sgd()())

        return train_by_keras(replicas, scaled, [equivalence.poison])

    assert np.isfinite(train(1)).all()
    assert not np.isfinite(train(2)).all()


def test_keras_accumulation_does_not_run_on_replicas() -> None:
    train_by_keras(1, sgd(gradient_accumulation_steps=2))
    with pytest.raises(Exception, match="merge_call"):
        train_by_keras(2, sgd(gradient_accumulation_steps=2))


def test_moving_statistics_drift_apart(monkeypatch) -> None:
    monkeypatch.setattr(statistics, "average", lambda *arguments: None)
    parts = session.build(
        make_recipe(*equivalence.SMALL_RESNET), make_engine(2)
    )
    parts.take_steps(0)(equivalence.STEPS)
    differences = [
        np.abs(np.subtract(*parts.engine.local_results(v))).max()
        for name, v in parts.state.variables().items()
        if "moving" in name
    ]
    assert min(differences) > 1e-4


FIT = """
import keras, numpy as np, tensorflow as tf
from trainer import cluster, strategies
strategy = strategies.multi_worker(cluster.from_environment(), 60.0).strategy
with strategy.scope():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
x = np.ones([32, 3], np.float32)
try:
    model.fit(x, x[:, :1], batch_size=8, verbose=0)
except ValueError as error:
    print("fit failed:", "PerReplica" in str(error), flush=True)
"""


def test_fit_does_not_run_on_several_workers() -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "launch.local", "--workers=2"),
            *("--engine=multi_worker", "--", sys.executable, "-c", FIT),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.count("fit failed: True") == 2
