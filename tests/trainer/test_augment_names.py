import ast
import inspect
import re

import pytest

from input import augment
from tests.conftest import REPO
from trainer import bindings, config, errors

TABLE = re.findall(
    r"^\| `(\w+)` \| (`.*?) \|",
    (REPO / "docs" / "augmentation.md").read_text(),
    re.MULTILINE,
)
_FUNCTIONS = {name: function for _, name, function in bindings._NAMES}


@pytest.mark.parametrize(("name", "parameters"), TABLE)
def test_documented_names_and_defaults_are_those_of_gin(
    name: str, parameters: str
) -> None:
    bindings.register()
    given = re.findall(r"`(\w+)=([^`]+)`", parameters)
    config.parse([], [f"{name}.{key}={value}" for key, value in given])
    defaults = inspect.signature(_FUNCTIONS[name]).parameters
    for key, value in given:
        assert defaults[key].default == ast.literal_eval(value)
    made = config.call(name)
    assert callable(made)
    assert made.__module__.startswith("input.")


def test_all_augmentations_are_in_the_table() -> None:
    known = {
        name
        for name, function in _FUNCTIONS.items()
        if function.__annotations__.get("return") == augment.Augment
    }
    assert known == {name for name, _ in TABLE}
    assert len(known) == 23


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("rand_augment.magnitude = 99", "rand_augment: magnitude=99 must be"),
        (
            'rand_augment.interpolation = "cubic"',
            "one of 'nearest', 'bilinear'",
        ),
        ('auto_augment.policy = "svhn"', "one of 'imagenet', 'cifar10'"),
        ('random_erasing.fill = "grey"', "random_erasing.fill='grey'"),
        ("random_rotation.degrees = 200.0", "degrees=200.0 must be in"),
    ],
)
def test_bad_values_in_gin(binding: str, message: str) -> None:
    bindings.register()
    config.parse([], [binding])
    with pytest.raises(errors.ConfigError, match=message):
        config.call(binding.split(".")[0])
