import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import optimizers, schedules, updater

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
    slots = updater.Updater(optimizer, variables)
    for step in range(steps):
        slots.apply(gradients(step), tf.constant(0.1))
    assert int(slots.variables[0].numpy()) == steps
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


def layerwise_reference(name: str, decay: float) -> np.ndarray:
    """The kernel after the algorithms of the two papers, in float64."""
    kernel = weights()[0].numpy().astype(np.float64)
    first, second = np.zeros_like(kernel), np.zeros_like(kernel)
    for step in range(4):
        g = gradients(step)[0].numpy().astype(np.float64)
        length = np.linalg.norm(kernel)
        if name == "lars":
            local = 0.02 * length / (np.linalg.norm(g) + decay * length)
            first = 0.9 * first + 0.1 * local * (g + decay * kernel)
            kernel = kernel - first
            continue
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g**2
        mean = first / (1 - 0.9 ** (step + 1))
        r = mean / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-6)
        r = r + decay * kernel
        kernel = kernel - 0.1 * length / np.linalg.norm(r) * r
    return kernel


def layerwise(name: str, decay: float) -> optimizers.Optimizer:
    if name == "lars":
        return optimizers.lars(RATE, weight_decay=decay, trust_coefficient=0.02)
    return optimizers.lamb(RATE, weight_decay=decay)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_layerwise_rules_are_those_of_their_papers(
    name: str, decay: float
) -> None:
    kernel, bias = train(layerwise(name, decay))
    np.testing.assert_allclose(
        kernel, layerwise_reference(name, decay), rtol=1e-4, atol=1e-6
    )
    # A bias takes the plain step: no ratio, no decay.
    plain = optimizers.sgd(RATE, nesterov=False)
    if name == "lamb":
        plain = optimizers.adam(RATE, epsilon=1e-6)
    # Adam of Keras has its epsilon elsewhere.
    np.testing.assert_allclose(bias, train(plain)[1], rtol=1e-3)


def test_lamb_without_decay_is_keras_s() -> None:
    keras_s = keras.optimizers.Lamb(0.1, epsilon=1e-6)
    variables = weights()[:1]
    for step in range(4):
        keras_s.apply(gradients(step)[:1], variables)
    kernel = train(layerwise("lamb", 0.0))[0]
    np.testing.assert_allclose(kernel, variables[0].numpy(), rtol=1e-4)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_weight_of_zeros_takes_the_plain_step(name: str) -> None:
    """The ratio would hold it there for ever."""
    zero = keras.Variable(np.zeros([2, 3], np.float32), name="kernel")
    slots = updater.Updater(layerwise(name, 0.1), [zero])
    slots.apply([tf.zeros([2, 3])], tf.constant(0.1))
    np.testing.assert_array_equal(zero.numpy(), np.zeros([2, 3]))
    slots.apply(gradients(0)[:1], tf.constant(0.1))
    assert np.isfinite(zero.numpy()).all()
    assert np.abs(zero.numpy()).min() > 0.01


def test_keras_still_keeps_its_counter_where_we_replace_it() -> None:
    """The private name that `Updater` leans on."""
    rule = keras.optimizers.Adam()
    assert rule.iterations is rule._iterations
    mine = keras.Variable(41, dtype="int64")
    rule._iterations = mine
    assert rule.iterations is mine


def test_slots_are_complete() -> None:
    slots = updater.Updater(optimizers.adam(RATE), weights())
    assert [v.path for v in slots.variables] == [
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
        (lambda: optimizers.lars(RATE, momentum=1.0), "momentum=1.0"),
        (
            lambda: optimizers.lars(RATE, trust_coefficient=0.0),
            "trust_coefficient=0.0",
        ),
        (lambda: optimizers.lamb(RATE, beta_2=1.0), "beta_2=1.0"),
        (lambda: optimizers.lamb(RATE, layer_decay=0.0), "layer_decay=0.0"),
    ],
)
def test_refuses_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
