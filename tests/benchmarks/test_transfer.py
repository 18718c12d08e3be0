"""The trial of transfer learning: its recipes."""

import pytest

from benchmarks import transfer_ways
from trainer import config


@pytest.mark.parametrize("name", transfer_ways.WAYS)
def test_its_recipes_are_recipes(name: str, tiny_data) -> None:
    way = transfer_ways.WAYS[name]
    complete = transfer_ways.bindings(
        way, str(tiny_data), seed=3, epochs=20, size=32
    )
    config.parse([way.recipe], complete)
    recipe = config.call("train")
    assert recipe.seed == 3
    assert recipe.eval_data is None
    assert recipe.test_data is not None
    # Those that are compared see the same number of pictures.
    assert recipe.global_batch_size == 32
    if "small network" not in name:
        assert recipe.horizon.total_steps == -(-20 * 12 // 32)
