import collections
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf

from input import augment, auto_augment_tables, operations, policies
from input.menu import Choice
from input.menu import Operation as Op
from tests.input import pillow

OPERATIONS = {op for op in Op if op not in (Op.HUE, Op.INVERT)}
ONE_WAY = {
    Op.IDENTITY,
    Op.POSTERISE,
    Op.SOLARISE,
    Op.AUTO_CONTRAST,
    Op.EQUALISE,
}


def rows(count: int, step: int = 0) -> augment.Rows:
    return augment.Rows(tf.constant([9, step]), tf.constant(0), count, count)


@pytest.fixture
def drawn(monkeypatch) -> Callable[..., list[list[Choice]]]:
    """What a policy would do to many images, without doing it."""

    def as_augment(name, choices, draw, *_) -> tuple:
        return choices, draw

    monkeypatch.setattr(operations, "as_augment", as_augment)

    def of(
        policy: tuple, count: int, size: tuple[int, int] = (64, 96)
    ) -> list[list[Choice]]:
        choices, draw = policy
        listed = choices(*size)
        numbers = draw(rows(count)).numpy()
        assert numbers.shape[1] == count
        return [[listed[number] for number in layer] for layer in numbers]

    return of


def shares(choices: Sequence[Choice]) -> dict[Op, float]:
    counts = collections.Counter(c.operation for c in choices)
    return {op: count / len(choices) for op, count in counts.items()}


def test_rand_augment_draws_all_operations_alike(drawn) -> None:
    layers = drawn(policies.rand_augment(num_ops=3), 7000)
    assert len(layers) == 3
    for layer in layers:
        found = shares(layer)
        assert found.keys() == OPERATIONS
        assert min(found.values()) > 0.8 / 14
        assert max(found.values()) < 1.2 / 14
    together = np.mean([a == b for a, b in zip(*layers[:2], strict=True)])
    assert together < 0.1  # The layers do not draw the same.


@pytest.mark.parametrize(
    ("magnitude", "amounts"),
    [
        (
            9,
            {
                Op.SHEAR_X: {0.09, -0.09},
                Op.TRANSLATE_X: {13, -13},  # 0.3 * 96 * 150 / 331 = 13.05
                Op.TRANSLATE_Y: {8, -8},
                Op.ROTATE: {9.0, -9.0},
                Op.SATURATION: {1.27, 0.73},
                Op.POSTERISE: {7},
                Op.SOLARISE: {178.5},
            },
        ),
        (
            30,
            {
                Op.SHEAR_Y: {0.3, -0.3},
                Op.TRANSLATE_X: {43, -43},
                Op.ROTATE: {30.0, -30.0},
                Op.CONTRAST: {1.9, 0.1},
                Op.POSTERISE: {4},
                Op.SOLARISE: {0},
            },
        ),
        (0, {Op.ROTATE: {0}, Op.BRIGHTNESS: {1}, Op.POSTERISE: {8}}),
    ],
)
def test_rand_augment_amounts(
    magnitude: int, amounts: dict[Op, set[float]]
) -> None:
    choices = policies.rand_augment_choices(magnitude, 64, 96)
    found = collections.defaultdict(set)
    for choice in choices:
        found[choice.operation].add(round(choice.amount, 6))
    assert {op: found[op] for op in amounts} == amounts


def test_trivial_augment_draws_operation_and_strength(drawn) -> None:
    (layer,) = drawn(policies.trivial_augment(), 20_000)
    found = shares(layer)
    assert found.keys() == OPERATIONS
    assert min(found.values()) > 0.85 / 14
    amounts = collections.defaultdict(set)
    for choice in layer:
        amounts[choice.operation].add(round(choice.amount, 6))
    for op in OPERATIONS - ONE_WAY:
        # 31 strengths, of which 0 is the same in both directions.
        assert len(amounts[op]) == 61
    assert max(amounts[Op.ROTATE]) == 135
    assert min(amounts[Op.TRANSLATE_X]) == -32
    assert max(amounts[Op.SHEAR_Y]) == 0.99
    assert min(amounts[Op.SHARPNESS]) == 0.01
    assert amounts[Op.POSTERISE] == {2, 3, 4, 5, 6, 7, 8}
    assert amounts[Op.SOLARISE] == {
        round(255 * (1 - i / 30), 6) for i in range(31)
    }


@pytest.mark.parametrize("policy", ["imagenet", "cifar10"])
def test_auto_augment_draws_pairs_as_often_as_they_say(
    policy: str, drawn
) -> None:
    count = 30_000
    layers = drawn(policies.auto_augment(policy), count)
    pairs = auto_augment_tables.POLICIES[policy]
    for i, layer in enumerate(layers):
        expected: dict[Op, float] = collections.defaultdict(float)
        for pair in pairs:
            expected[pair[i].operation] += pair[i].chance / len(pairs)
        expected[Op.IDENTITY] = 1 - sum(expected.values())
        for op, share in shares(layer).items():
            assert abs(share - expected[op]) < 0.012, op
    turned = [c.amount > 0 for c in layers[0] if c.operation == Op.ROTATE]
    assert 0.45 < np.mean(turned) < 0.55


def test_auto_augment_does_both_of_a_pair(drawn) -> None:
    first, second = drawn(policies.auto_augment("imagenet"), 20_000)
    # The one pair with a shear: by 0.3 * 5 / 9 in 60 %, then equalise always.
    after = [
        b
        for a, b in zip(first, second, strict=True)
        if a.operation == Op.SHEAR_X
    ]
    assert abs(len(after) / 20_000 - 0.6 / 25) < 0.004
    assert set(after) == {Choice(Op.EQUALISE)}
    sheared = {a.amount for a in first if a.operation == Op.SHEAR_X}
    assert sorted(sheared) == pytest.approx([-0.3 * 5 / 9, 0.3 * 5 / 9])


def test_auto_augment_policies_have_25_pairs() -> None:
    tables = auto_augment_tables.POLICIES
    for pairs in tables.values():
        assert len(pairs) == 25
        for step in (step for pair in pairs for step in pair):
            assert 0 <= step.chance <= 1
            assert step.magnitude in range(10)
    used = {
        name: {step.operation for pair in pairs for step in pair}
        for name, pairs in tables.items()
    }
    assert Op.INVERT in used["imagenet"] & used["cifar10"]
    assert Op.TRANSLATE_Y in used["cifar10"] - used["imagenet"]


POLICIES = {
    "rand_augment": policies.rand_augment,
    "trivial_augment": policies.trivial_augment,
    "imagenet": lambda **rest: policies.auto_augment("imagenet", **rest),
    "cifar10": lambda **rest: policies.auto_augment("cifar10", **rest),
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_drawn_is_what_pillow_does(
    name: str, monkeypatch, eager: None
) -> None:
    seen = []
    real = operations.as_augment

    def as_augment(name, choices, draw, *rest) -> augment.Augment:
        seen.append((choices, draw))
        return real(name, choices, draw, *rest)

    monkeypatch.setattr(operations, "as_augment", as_augment)
    apply = POLICIES[name](fill=128.0)
    images = np.resize(pillow.pictures(32, 40), (24, 32, 40, 3))
    found = apply(images.astype(np.float32), rows(24, step=4)).numpy()
    choices, draw = seen[0]
    expected = images.copy()
    for layer in draw(rows(24, step=4)).numpy():
        for i, number in enumerate(layer):
            choice = choices(32, 40)[number]
            expected[i] = pillow.done(expected[i], choice, fill=128)
    # A level that auto-contrast rounds otherwise can go on into equalise.
    assert (found != expected).mean() < 2e-3
