"""Stochastic depth: which branches are left out, and how often."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import layers, resnet, stochastic_depth


def drop(rows: int, first: int = 0, rate: float = 0.25) -> np.ndarray:
    layer = stochastic_depth.StochasticDepth(rate, name="block")
    with layers.random_rows([3, 4], first):
        return layer(tf.ones([rows, 2, 2, 3]), training=True).numpy()


def test_all_of_an_example_or_nothing() -> None:
    found = drop(4000).reshape([4000, -1])
    kept = found[:, 0] > 0
    np.testing.assert_array_equal(found, found[:, :1].repeat(12, axis=1))
    np.testing.assert_allclose(found[kept], 1 / 0.75)
    # Four standard deviations of a binomial share.
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)


def test_the_batch_may_be_split() -> None:
    halves = np.concatenate([drop(32), drop(32, first=32)])
    np.testing.assert_array_equal(drop(64), halves)


def test_inference_keeps_the_branch() -> None:
    layer = stochastic_depth.StochasticDepth(0.5)
    np.testing.assert_array_equal(layer(tf.ones([2, 3])), np.ones([2, 3]))


def test_rates_grow_with_the_depth() -> None:
    rates = stochastic_depth.linear_rates(0.2, 4)
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.15, 0.2])
    with pytest.raises(ValueError, match="stochastic_depth=1.0: must be"):
        stochastic_depth.linear_rates(1.0, 4)


def found(model: keras.Model) -> list[float]:
    kind = stochastic_depth.StochasticDepth
    return [layer.rate for layer in model.layers if isinstance(layer, kind)]


def test_residual_networks_have_one_for_each_block() -> None:
    model = resnet.small_resnet(2, (8, 8, 1), depth=8, stochastic_depth=0.3)
    np.testing.assert_allclose(found(model), [0.1, 0.2, 0.3])
    model = resnet.resnet(
        2, (32, 32, 1), depth=18, width=2, stochastic_depth=0.8
    )
    np.testing.assert_allclose(found(model), np.arange(1, 9) / 10)
    assert not found(resnet.small_resnet(2, (8, 8, 1), depth=8))
