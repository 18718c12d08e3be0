"""The same training on any number of replicas."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_engine, make_recipe
from trainer import session

PLAIN = ()
CASES = {
    "plain": PLAIN,
    "clipping": ("sgd.clip_norm = 0.1",),
    "smoothing, decay, Nesterov": (
        "train.loss = @softmax_cross_entropy()",
        "softmax_cross_entropy.label_smoothing = 0.1",
        "sgd.weight_decay = 0.01",
        "sgd.nesterov = True",
    ),
    "adamw": (
        "train.optimizer = @adamw()",
        "adamw.learning_rate = @constant_schedule()",
        # Adam divides by the gradient's size: rounding errors of gradients
        # near zero become steps. A large epsilon keeps them small.
        "adamw.epsilon = 0.01",
    ),
    "augmentation, dropout, L2": (
        "train.augment = [@random_crop(), @random_flip(), @cutout()]",
        "random_crop.padding = 2",
        "cutout.size = 3",
        "simple_cnn.dropout = 0.5",
        "simple_cnn.l2 = 0.001",
    ),
    "sync batch norm": (
        "train.model = @small_resnet",
        "small_resnet.depth = 8",
        "small_resnet.width = 4",
        'train.batch_norm = "sync"',
    ),
}


def run(replicas: int, *bindings: str, steps: int = 10):
    parts = session.build(make_recipe(*bindings), make_engine(replicas))
    values = parts.take_steps(0)(steps)
    variables = {k: np.asarray(v) for k, v in parts.state.variables().items()}
    return parts, values, variables


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_are_the_same(case: str) -> None:
    _, expected_values, expected = run(1, *CASES[case])
    for replicas in (2, 4):
        _, values, variables = run(replicas, *CASES[case])
        assert values["correct"] == expected_values["correct"]
        for name in ("loss", "gradient_norm", "learning_rate"):
            assert values[name] == pytest.approx(expected_values[name], 1e-4)
        for name, value in expected.items():
            np.testing.assert_allclose(
                variables[name], value, rtol=0, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize("batch_norm", ["local", "sync"])
def test_replicas_never_drift_apart(batch_norm: str) -> None:
    parts, _, _ = run(
        2,
        "train.model = @small_resnet",
        "small_resnet.depth = 8",
        "small_resnet.width = 4",
        f"train.batch_norm = '{batch_norm}'",
    )
    for name, variable in parts.state.variables().items():
        first, second = parts.engine.local_results(variable)
        np.testing.assert_array_equal(first, second, err_msg=name)


def test_local_statistics_are_the_mean_of_the_replicas() -> None:
    """The moving mean follows the global batch."""
    bindings = (
        "train.model = @small_resnet",
        "small_resnet.depth = 8",
        "small_resnet.width = 4",
        "constant_schedule.value = 1e-30",
    )
    parts, _, one = run(1, *bindings, steps=4)
    _, _, two = run(2, *bindings, steps=4)
    stem = next(n for n in one if n.endswith("moving_mean"))
    np.testing.assert_allclose(two[stem], one[stem], atol=1e-5)


def test_clipping_comes_after_the_sum() -> None:
    """Each replica's gradient is short, their sum is long."""
    for replicas in (1, 2):
        parts, values, _ = run(
            replicas, "sgd.clip_norm = 0.5", "sgd.momentum = 0.0", steps=1
        )
        before = session.build(parts.recipe, make_engine(1)).state.model
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
