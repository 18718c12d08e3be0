"""Learning rates and decay that differ between parts of a network."""

import keras
import numpy as np
import pytest

from models import simple_cnn
from tests.conftest import make_engine, make_recipe
from trainer import errors, param_groups, session

# The blocks are conv1, conv2, dense and head.
BLOCKS = 4


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return simple_cnn.simple_cnn(4, (8, 8, 3), filters=(4, 8), dense=8)


def treatments(
    model: keras.Model, *groups: param_groups.ParamGroup, decay: float = 1.0
) -> dict[str, param_groups.Treatment]:
    weights = model.trainable_variables
    found = param_groups.treatments(
        model, weights, weight_decay=0.1, groups=groups, layer_decay=decay
    )
    return {
        w.path.removeprefix("simple_cnn/"): t
        for w, t in zip(weights, found, strict=True)
    }


def test_layer_decay_goes_by_block(model) -> None:
    found = treatments(model, decay=0.5)
    for i, block in enumerate(("conv1", "conv2", "dense", "logits")):
        factor = 0.5 ** (BLOCKS - 1 - i)
        kernel, bias = found[f"{block}/kernel"], found[f"{block}/bias"]
        assert kernel == param_groups.Treatment(factor, 0.1)
        assert bias == param_groups.Treatment(factor, 0.0)


def test_the_first_group_that_matches_decides(model) -> None:
    found = treatments(
        model,
        param_groups.ParamGroup(match="^head/", learning_rate_factor=10.0),
        param_groups.ParamGroup(match="kernel$", weight_decay=0.0),
        decay=0.5,
    )
    assert found["logits/kernel"] == param_groups.Treatment(10.0, 0.1)
    assert found["logits/bias"] == param_groups.Treatment(10.0, 0.0)
    assert found["dense/kernel"] == param_groups.Treatment(0.5, 0.0)


def test_factors_are_what_the_weights_feel() -> None:
    """One step of plain SGD: each weight moves by its factor."""

    def moved(*bindings: str) -> dict[str, np.ndarray]:
        recipe = make_recipe("sgd.momentum = 0.0", *bindings)
        parts = session.build(recipe, make_engine(1))
        before = parts.state.arrays()
        parts.take_steps(0)(1)
        after = parts.state.arrays()
        return {
            name: after[name] - before[name]
            for name in before
            if name.startswith("model/")
        }

    plain = moved()
    found = moved(
        "sgd.layer_decay = 0.5",
        "sgd.groups = [@param_group()]",
        'param_group.match = "^conv1/.*kernel"',
        "param_group.learning_rate_factor = 4.0",
    )
    factors = {"conv1/kernel": 0.5, "conv1/bias": 0.125, "conv2": 0.25}
    for name, value in plain.items():
        path = name.removeprefix("model/")
        factor = factors.get(path, factors.get(path.split("/")[0]))
        if factor is None:
            factor = 1.0 if path.startswith("logits") else 0.5
        np.testing.assert_allclose(
            found[name], factor * value, rtol=1e-3, atol=1e-7, err_msg=name
        )


def test_a_name_that_matches_nothing_is_an_error() -> None:
    recipe = make_recipe(
        "sgd.groups = [@param_group()]", 'param_group.match = "^con1/"'
    )
    with pytest.raises(
        errors.ConfigError,
        match=r"match='\^con1/' is found in no.*mean 'conv1'.*conv2, dense, he",
    ):
        session.build(recipe, make_engine(1))


def test_a_group_may_be_of_what_is_frozen(model) -> None:
    group = param_groups.ParamGroup(match="^conv1/", learning_rate_factor=2.0)
    head = model.get_layer("logits").trainable_variables
    found = param_groups.treatments(
        model, head, weight_decay=0.0, groups=[group], layer_decay=1.0
    )
    assert found == [param_groups.Treatment(1.0, 0.0)] * 2


def test_decay_of_what_is_spared_is_an_error(model) -> None:
    group = param_groups.ParamGroup(match="/bias$", weight_decay=0.1)
    with pytest.raises(ValueError, match="finds only biases.*conv1/bias"):
        treatments(model, group)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"match": "("}, "is not a regular expression"),
        ({"match": "a", "learning_rate_factor": 0.0}, "factor=0.0 must be"),
        ({"match": "a", "weight_decay": -1.0}, "weight_decay=-1.0 must be"),
    ],
)
def test_refuses_bad_values(values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        param_groups.ParamGroup(**values)
