import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import optimizers, schedules

RATE = schedules.constant_schedule(0.1)


def weights() -> list[keras.Variable]:
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3) / 10
    return [
        keras.Variable(kernel, name="kernel"),
        keras.Variable([1.0, 2.0, 3.0], name="bias"),
    ]


def gradients(step: int) -> list[tf.Tensor]:
    return [
        tf.fill([2, 3], 0.3 * (step + 1)),
        tf.constant([0.1, -0.2, 0.3]) * (step + 1),
    ]


def train(optimizer: optimizers.Optimizer, steps: int = 4) -> list[np.ndarray]:
    variables = weights()
    updater = optimizers.Updater(optimizer, variables)
    for step in range(steps):
        updater.apply(gradients(step), tf.constant(0.1))
    assert int(updater.variables[0].numpy()) == steps
    return [v.numpy() for v in variables]


def torch_sgd(decay: float, nesterov: bool, steps: int = 4) -> np.ndarray:
    """The kernel after SGD as PyTorch's documentation defines it."""
    kernel, momentum = weights()[0].numpy().astype(np.float64), 0.0
    for step in range(steps):
        gradient = gradients(step)[0].numpy() + decay * kernel
        momentum = 0.9 * momentum + gradient
        update = gradient + 0.9 * momentum if nesterov else momentum
        kernel = kernel - 0.1 * update
    return kernel


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_pytorch_s(decay: float, nesterov: bool) -> None:
    kernel, bias = train(
        optimizers.sgd(RATE, nesterov=nesterov, weight_decay=decay)
    )
    np.testing.assert_allclose(
        kernel, torch_sgd(decay, nesterov), rtol=1e-5, atol=1e-6
    )
    # Decay spares the bias.
    np.testing.assert_array_equal(
        bias, train(optimizers.sgd(RATE, nesterov=nesterov))[1]
    )


@pytest.mark.parametrize(
    ("ours", "keras_s"),
    [
        (optimizers.sgd(RATE), keras.optimizers.SGD(0.1, 0.9, nesterov=True)),
        (optimizers.sgd(RATE, momentum=0.0), keras.optimizers.SGD(0.1)),
        (optimizers.adam(RATE), keras.optimizers.Adam(0.1)),
    ],
)
def test_one_replica_gives_what_keras_gives(ours, keras_s) -> None:
    variables = weights()
    for step in range(4):
        keras_s.apply(gradients(step), variables)
    for mine, theirs in zip(train(ours), variables, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_adamw_shrinks_kernels_only() -> None:
    keras_s = keras.optimizers.AdamW(0.1, weight_decay=0.05)
    keras_s.exclude_from_weight_decay(var_names=["bias"])
    variables = weights()
    for step in range(4):
        keras_s.apply(gradients(step), variables)
    for mine, theirs in zip(
        train(optimizers.adamw(RATE, weight_decay=0.05)), variables, strict=True
    ):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_keras_still_keeps_its_counter_where_we_replace_it() -> None:
    """The private name that `Updater` leans on."""
    rule = keras.optimizers.Adam()
    assert rule.iterations is rule._iterations
    mine = keras.Variable(41, dtype="int64")
    rule._iterations = mine
    assert rule.iterations is mine


def test_slots_are_complete() -> None:
    updater = optimizers.Updater(optimizers.adam(RATE), weights())
    assert [v.path for v in updater.variables] == [
        "iterations",
        "adam/kernel_momentum",
        "adam/kernel_velocity",
        "adam/bias_momentum",
        "adam/bias_velocity",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.sgd(RATE, momentum=1.0), "momentum=1.0"),
        (lambda: optimizers.sgd(RATE, weight_decay=-1.0), "weight_decay=-1.0"),
        (lambda: optimizers.sgd(RATE, clip_norm=-1.0), "clip_norm=-1.0"),
        (lambda: optimizers.adamw(RATE, beta_1=1.0), "beta_1=1.0"),
        (lambda: optimizers.adam(RATE, epsilon=0.0), "epsilon=0.0"),
    ],
)
def test_refuses_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
