"""The trial of remedies for imbalance: its data and its recipes."""

import pathlib

import numpy as np
import pytest

from benchmarks import imbalance
from input import convert_sources
from trainer import config


def test_its_data_is_skewed(tmp_path: pathlib.Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    rng = np.random.default_rng(0)
    for prefix, each in (("train", 200), ("t10k", 5)):
        labels = rng.permutation(np.repeat(np.arange(3), each))
        # Each picture shows its label and its number.
        pixels = np.zeros([len(labels), 4, 4], np.uint8)
        pixels[:, 0, 0] = labels
        pixels[:, 1, 1] = np.arange(len(labels)) % 256
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            imbalance.write_idx(
                whole / f"{prefix}-{kind}-ubyte.gz", values.astype(np.uint8)
            )
    sizes = imbalance.write(whole, tmp_path / "skewed", ratio=100)
    assert sizes == [200, 20, 2]
    found, before = (
        convert_sources.read_idx(str(folder)).splits
        for folder in (tmp_path / "skewed", whole)
    )
    labels = [picture.label for picture in found["train"]]
    assert np.bincount(labels).tolist() == sizes
    for picture in found["train"]:
        assert np.asarray(picture.origin)[0, 0, 0] == picture.label
    assert len(found["test"]) == len(before["test"]) == 15
    for mine, other in zip(found["test"], before["test"], strict=True):
        np.testing.assert_array_equal(mine.origin, other.origin)


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
