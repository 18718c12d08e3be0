"""The race of kept features against the whole network: its parts."""

import pathlib

import pytest

from benchmarks import fashion_mnist
from benchmarks import features_contenders as features
from tests.conftest import make_recipe


@pytest.mark.parametrize("name", features.CONTENDERS)
def test_its_recipes_differ_in_one_thing(name: str) -> None:
    asked = features.bindings(pathlib.Path("there"), name, 2, 32)
    # The data are not there: made-up ones of the same shape.
    asked = [b for b in asked if not b.startswith(("eval_data", "DATA_DIR"))]
    recipe = make_recipe(
        "SOURCE = @synthetic()",
        "synthetic.examples = {'train': 64, 'validation': 32}",
        *asked,
        file="gin/features.gin",
    )
    assert recipe.cache_features is (name == "features kept")
    assert recipe.trainable == "head"
    assert recipe.train_data.image_shape == (32, 32, 3)
    assert recipe.test_data is None


def test_its_report_takes_the_accuracy_that_both_reach() -> None:
    table = features.report(
        {
            "features kept": [(10.0, 0.5), (11.0, 0.8), (12.0, 0.7)],
            "whole network": [(30.0, 0.6), (50.0, 0.75), (70.0, 0.75)],
        }
    )
    assert "s to 75.0 %, from the command" in table
    assert "| features kept | 11.0 | 1.00 | 12.0 | 70.0 % |" in table
    assert "| whole network | 50.0 | 20.00 | 70.0 | 75.0 % |" in table


@pytest.mark.long
def test_it_runs(tmp_path: pathlib.Path) -> None:
    source = pathlib.Path(fashion_mnist.FOLDER)
    if not source.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    features.write(tmp_path, str(source), each=4, test_pictures=20)
    found = {
        name: features.train(tmp_path, name, epochs=2, size=32)
        for name in features.CONTENDERS
    }
    kept, whole = found.values()
    assert [a for _, a in kept] == [a for _, a in whole]
    assert len(kept) == 2
