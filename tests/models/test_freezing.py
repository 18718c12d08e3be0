import re

import keras
import pytest
import tensorflow as tf

from models import freezing, resnet


@pytest.fixture
def model() -> keras.Model:
    return resnet.small_resnet(4, (8, 8, 3), depth=8, width=4)


def learning(model: keras.Model) -> set[str]:
    """The blocks that have a weight which learns."""
    return {re.split("[_/]", v.path)[0] for v in model.trainable_variables}


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("all", {"stem", "stage1", "stage2", "stage3", "logits"}),
        ("head", {"logits"}),
        ("last 1 block", {"stage3", "logits"}),
        ("last 2 blocks", {"stage2", "stage3", "logits"}),
        ("last 4 blocks", {"stem", "stage1", "stage2", "stage3", "logits"}),
    ],
)
def test_what_learns(model, trainable: str, expected: set[str]) -> None:
    freezing.Freezing(model).apply(trainable)
    assert learning(model) == expected


def test_batch_norm_is_frozen_with_its_scales(model) -> None:
    frozen = freezing.Freezing(model)
    frozen.apply("last 2 blocks", freeze_batch_norm=True)
    paths = [v.path for v in model.trainable_variables]
    assert paths and not any("norm" in path for path in paths)
    before = [v.numpy() for v in model.non_trainable_variables]
    model(tf.random.stateless_normal([4, 8, 8, 3], [0, 1]), training=True)
    for variable, value in zip(
        model.non_trainable_variables, before, strict=True
    ):
        tf.debugging.assert_equal(variable.value, value)


def test_what_the_builder_froze_stays_frozen(model) -> None:
    model.get_layer("stem_conv").trainable = False
    frozen = freezing.Freezing(model)
    assert "stem_conv/kernel" not in {v.path for v in frozen.weights}
    frozen.apply("head")
    assert not model.get_layer("stem_norm").trainable
    frozen.restore()
    assert not model.get_layer("stem_conv").trainable
    assert [id(v) for v in model.trainable_variables] == [
        id(v) for v in frozen.weights
    ]


@pytest.mark.parametrize(
    "text", ["nothing", "last blocks", "last 0 blocks", "last two blocks", "3"]
)
def test_refuses_what_it_does_not_understand(text: str) -> None:
    with pytest.raises(ValueError, match='must be "all", "head"'):
        freezing.parse(text)


def test_refuses_more_blocks_than_there_are(model) -> None:
    with pytest.raises(ValueError, match=r"has 4 blocks before.*stem, stage1"):
        freezing.Freezing(model).apply("last 5 blocks")


def test_refuses_when_nothing_is_left_to_learn(model) -> None:
    model.get_layer("logits").trainable = False
    with pytest.raises(ValueError, match="'head' leaves no weight"):
        freezing.Freezing(model).apply("head")
