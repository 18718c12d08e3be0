"""The trial of remedies for imbalance: its data and its recipes."""

import numpy as np
import pytest

from benchmarks import imbalance
from trainer import config


def test_its_data_is_skewed() -> None:
    assert imbalance.skewed(np.array([200, 200, 200]), 100) == [200, 20, 2]
    assert imbalance.skewed(np.array([8, 8]), 1000) == [8, 1]


@pytest.mark.parametrize("name", imbalance.REMEDIES)
def test_its_recipes_are_recipes(name: str) -> None:
    bindings = imbalance.REMEDIES[name]
    config.parse(["tests/tiny.gin"], bindings)
    recipe = config.call("train")
    assert recipe.classes == 4
    # Each says something that the plain recipe does not.
    config.parse(["tests/tiny.gin"], [])
    plain = config.call("train")
    changed = any(
        getattr(recipe, field) != getattr(plain, field)
        for field in ("class_weights", "loss")
    ) or (recipe.train_data.resample is not None)
    assert changed == bool(bindings)
