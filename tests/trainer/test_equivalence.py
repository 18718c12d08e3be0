"""The same training on every engine; see equivalence.py for the trainings."""

import collections
import functools
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import REPO, make_engine, make_recipe
from tests.trainer import equivalence
from trainer import session

Found = dict[str, np.ndarray]
PROCESSES = 2


@functools.cache
def of_one_device(case: str) -> Found:
    return equivalence.run_case(case, make_engine(1))


@functools.cache
def of_processes(engine: str, group: str) -> list[dict[str, Found]]:
    """What each of two real processes has found, by case."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder, engine)
        answer = subprocess.run(
            [
                *(sys.executable, "-m", "launch.local"),
                *(f"--workers={PROCESSES}", f"--engine={engine}", "--"),
                *(sys.executable, "-m", "tests.trainer.equivalence"),
                *(engine, group, str(output)),
            ],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert answer.returncode == 0, answer.stderr[-5000:]
        return [
            load(pathlib.Path(f"{output}-{i}.npz")) for i in range(PROCESSES)
        ]


def load(path: pathlib.Path) -> dict[str, Found]:
    """The arrays of a file, by case and name."""
    found: dict[str, Found] = collections.defaultdict(dict)
    with np.load(path) as arrays:
        for key, value in arrays.items():
            case, _, name = key.partition("/")
            found[case][name] = value
    return found


def assert_same(case: str, found: Found, expected: Found) -> None:
    tolerance = equivalence.TOLERANCE.get(case, 1e-5)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        kind = name.split("/")[0]
        if kind == "variables":
            close = {"rtol": 0, "atol": tolerance}
        elif name in EXACT:
            close = {"rtol": 0}
        else:
            close = {"rtol": max(1e-4, 10 * tolerance), "equal_nan": True}
        np.testing.assert_allclose(
            found[name], value, err_msg=f"{case}: {name}", **close
        )


# Counts, and what decides the same way on all replicas.
EXACT = (
    "history/correct",
    "history/examples",
    "history/learning_rate",
    "history/loss_scale",
    "history/skipped",
    "metrics/examples",
    "metrics/top_1_accuracy",
    "metrics/top_5_accuracy",
    "confusion",
)


def slow(case: str, *others: Any) -> Any:
    """A parameter set; `make test-long` has those of further cases."""
    long = case in equivalence.GROUPS["more"]
    return pytest.param(
        *others,
        case,
        id="-".join(map(str, [*others, case])),
        marks=[pytest.mark.long] if long else [],
    )


@pytest.mark.parametrize(
    "case", [slow(case) for case in equivalence.CASES | equivalence.MORE]
)
def test_two_replicas_train_like_one_device(case: str) -> None:
    found = equivalence.run_case(case, make_engine(2))
    assert_same(case, found, of_one_device(case))


@pytest.mark.long
@pytest.mark.parametrize("case", equivalence.CASES)
def test_four_replicas_train_like_one_device(case: str) -> None:
    found = equivalence.run_case(case, make_engine(4))
    assert_same(case, found, of_one_device(case))


@pytest.mark.parametrize(
    ("engine", "group", "case"),
    [
        slow(case, engine, group)
        for engine in ("multi_worker", "horovod")
        for group, cases in equivalence.GROUPS.items()
        for case in cases
    ],
)
def test_processes_train_alike(engine: str, group: str, case: str) -> None:
    first, second = (found[case] for found in of_processes(engine, group))
    expected = (
        equivalence.run_case(case, make_engine(PROCESSES))
        if case in equivalence.APART
        else of_one_device(case)
    )
    assert_same(case, first, expected)
    for name, value in first.items():
        # Not a bit's difference: nothing may drift apart.
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_float16_overflows_are_seen_by_all() -> None:
    """The matrix would compare nothing if the poison did not work."""
    history = of_one_device("float16, inf")
    skipped = np.isin(np.arange(equivalence.STEPS), [*equivalence.POISONED])
    np.testing.assert_array_equal(history["history/skipped"], skipped)
    assert history["history/loss_scale"][-1] == 2.0**11


@pytest.mark.long
def test_the_trainings_differ() -> None:
    """Each case does something."""
    found = {
        case: of_one_device(case)
        for case in equivalence.CASES | equivalence.MORE
    }
    weights = {
        case: values["variables/model/dense/kernel"].tobytes()
        for case, values in found.items()
        if "variables/model/dense/kernel" in values
    }
    same_on_purpose = {"EMA": "plain"}
    for case, value in weights.items():
        for other, other_value in weights.items():
            if case < other and same_on_purpose.get(case) != other:
                assert value != other_value, (case, other)


def test_accumulation_gives_the_gradient_of_the_whole_batch() -> None:
    """Without batch norm, micro-batches change nothing but memory."""
    values = []
    for steps in (1, 2, 4):
        parts = session.build(
            make_recipe(f"train.accumulate_steps = {steps}"), make_engine(2)
        )
        parts.take_steps(0)(5)
        values.append(np.asarray(parts.state.model.trainable_variables[0]))
    np.testing.assert_allclose(values[1], values[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(values[2], values[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_norm", ["local", "sync"])
def test_replicas_never_drift_apart(batch_norm: str) -> None:
    parts = session.build(
        make_recipe(
            *equivalence.SMALL_RESNET,
            f"train.batch_norm = '{batch_norm}'",
            "train.ema_decay = 0.5",
        ),
        make_engine(2),
    )
    parts.take_steps(0)(10)
    for name, variable in parts.state.variables().items():
        first, second = parts.engine.local_results(variable)
        np.testing.assert_array_equal(first, second, err_msg=name)


def test_local_statistics_are_the_mean_of_the_replicas() -> None:
    """The moving mean follows the global batch."""
    means = []
    for replicas in (1, 2):
        recipe = make_recipe(
            *equivalence.SMALL_RESNET, "constant_schedule.value = 1e-30"
        )
        parts = session.build(recipe, make_engine(replicas))
        parts.take_steps(0)(4)
        variables = parts.state.variables()
        stem = next(n for n in variables if n.endswith("moving_mean"))
        means.append(np.asarray(variables[stem]))
    np.testing.assert_allclose(means[1], means[0], atol=1e-5)


def test_clipping_comes_after_the_sum() -> None:
    """Each replica's gradient is short, their sum is long."""
    for replicas in (1, 2):
        recipe = make_recipe("sgd.clip_norm = 0.5", "sgd.momentum = 0.0")
        parts = session.build(recipe, make_engine(replicas))
        before = session.build(parts.recipe, make_engine(1)).state.model
        values = parts.take_steps(0)(1)
        moved = tf.linalg.global_norm(
            [
                a.value - b.value
                for a, b in zip(
                    parts.state.model.trainable_variables,
                    before.trainable_variables,
                    strict=True,
                )
            ]
        )
        assert values["gradient_norm"] > 0.5
        assert float(moved) == pytest.approx(0.05 * 0.5, rel=1e-4)
