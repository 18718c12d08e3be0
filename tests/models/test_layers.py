"""Batch normalisation and dropout, on one replica and on several."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import layers
from models.resnet import small_resnet

DTYPES = ("float32", "bfloat16", "float16")


def _images(shape=(6, 5, 4, 3), dtype="float32", seed=0):
    values = np.random.default_rng(seed).normal(1.5, 2.0, shape)
    return tf.cast(tf.constant(values, tf.float32), dtype)


def _norm(channels=3, **arguments):
    """A layer whose four weights are all away from their initial values."""
    layer = layers.BatchNormalization(**arguments)
    layer.build((None, None, None, channels))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2.0, channels) for _ in range(4)])
    return layer


def _output_and_gradients(layer, images, training):
    """Gradients of a loss that weighs every output differently."""
    weights = tf.cast(_images(images.shape, seed=2), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=training)
        loss = tf.reduce_sum(weights * tf.cast(outputs, tf.float32) ** 2)
    return outputs, tape.gradient(loss, [images, *layer.trainable_variables])


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_equals_keras(training):
    ours = _norm()
    theirs = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    theirs.build((None, None, None, 3))
    theirs.set_weights(ours.get_weights())
    images = _images()
    output, gradients = _output_and_gradients(ours, images, training)
    expected, expected_gradients = _output_and_gradients(
        theirs, images, training
    )
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    for got, want in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)


def test_moving_variance_is_unbiased():
    layer = _norm(momentum=0.75)
    images = _images()
    old = layer.moving_variance.numpy()
    layer(images, training=True)
    unbiased = images.numpy().reshape(-1, 3).var(axis=0, ddof=1)
    np.testing.assert_allclose(
        layer.moving_variance, 0.75 * old + 0.25 * unbiased, rtol=1e-5
    )


@pytest.mark.parametrize("synchronised", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm_dtypes(dtype, synchronised):
    layer = _norm(dtype=keras.DTypePolicy(dtype))
    images = _images(dtype=dtype)
    reference, reference_gradients = _output_and_gradients(
        _norm(), tf.cast(images, tf.float32), training=True
    )
    if synchronised:
        with layers.cross_replica(lambda mean: mean, replicas=1):
            output, gradients = _output_and_gradients(layer, images, True)
    else:
        output, gradients = _output_and_gradients(layer, images, True)
    assert output.dtype == dtype
    assert gradients[0].dtype == dtype
    assert {w.dtype for w in layer.weights} == {"float32"}
    assert {w.aggregation for w in layer.weights} == {"none"}
    tolerance = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 5e-3}[dtype]
    for got, want in zip(
        [output, *gradients], [reference, *reference_gradients], strict=True
    ):
        got, want = tf.cast(got, tf.float32), want.numpy()
        worst = np.abs(got - want).max() / np.abs(want).max()
        assert worst < tolerance


def test_frozen_batch_norm_is_in_inference_mode():
    layer = _norm()
    before = layer.get_weights()
    images = _images()
    inference = layer(images, training=False)
    layer.trainable = False
    np.testing.assert_array_equal(layer(images, training=True), inference)
    with layers.cross_replica(lambda mean: mean, replicas=1):
        np.testing.assert_array_equal(layer(images, training=True), inference)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_norm_rejects_bad_arguments():
    with pytest.raises(ValueError, match=r"momentum=1.0: must be at least 0"):
        layers.BatchNormalization(momentum=1.0)
    with pytest.raises(ValueError, match="expected ndim=4"):
        layers.BatchNormalization()(tf.zeros([2, 3]))


class _Exchange:
    """An all-reduce mean between threads that build one graph together."""

    def __init__(self, replicas):
        self._sent = [None] * replicas
        self._barrier = threading.Barrier(replicas, timeout=30)

    def all_reduce_mean(self, replica):
        def reduce(value):
            self._sent[replica] = value
            self._barrier.wait()
            mean = tf.add_n(self._sent) / len(self._sent)
            self._barrier.wait()
            return mean

        return reduce


def _losses_on_replicas(models, parts, loss):
    """Calls each model on its part, a thread each, into the current graph."""
    exchange = _Exchange(len(models))
    graph = tf.compat.v1.get_default_graph()
    losses, errors = [None] * len(models), []

    def replica(i):
        try:
            with (
                graph.as_default(),
                layers.cross_replica(
                    exchange.all_reduce_mean(i), replicas=len(models)
                ),
            ):
                losses[i] = loss(
                    models[i](parts[i][0], training=True), parts[i]
                )
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=replica, args=[i]) for i in range(len(models))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return losses


def _model_copies(count):
    keras.utils.set_random_seed(3)
    models = [
        small_resnet(5, (8, 8, 3), depth=8, width=4, zero_last_gamma=False)
        for _ in range(count)
    ]
    for model in models[1:]:
        model.set_weights(models[0].get_weights())
    return models


def test_two_replicas_train_as_one_with_the_global_batch():
    """A whole network in two halves: same loss, gradients and statistics.

    Each replica has its own copy of the weights, as under MirroredStrategy,
    and the statistics of every layer pass between them, so the gradient of
    one half flows through the examples of the other.
    """
    whole, *replicas = _model_copies(3)
    images = _images((12, 8, 8, 3))
    labels = tf.constant([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])
    # Unlike halves: local statistics would give a clearly different answer.
    images = tf.concat([images[:6] * 3.0 + 4.0, images[6:]], axis=0)

    def loss(logits, part):
        return (
            tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(part[1], logits)
            )
            / 12.0
        )

    @tf.function(autograph=False)
    def gradients_of_whole():
        total = loss(whole(images, training=True), (images, labels))
        return total, tf.gradients(
            total, [v.value for v in whole.trainable_variables]
        )

    @tf.function(autograph=False)
    def gradients_of_halves():
        parts = [(images[:6], labels[:6]), (images[6:], labels[6:])]
        total = tf.add_n(_losses_on_replicas(replicas, parts, loss))
        variables = [
            v.value for model in replicas for v in model.trainable_variables
        ]
        gradients = tf.gradients(total, variables)
        half = len(gradients) // 2
        return total, [
            a + b
            for a, b in zip(gradients[:half], gradients[half:], strict=True)
        ]

    expected_loss, expected = gradients_of_whole()
    got_loss, got = gradients_of_halves()
    np.testing.assert_allclose(got_loss, expected_loss, rtol=1e-5)
    for variable, a, b in zip(
        whole.trainable_variables, got, expected, strict=True
    ):
        worst = np.abs(a - b).max() / np.abs(b).max()
        assert worst < 1e-4, variable.path
    for a, b, c in zip(
        whole.non_trainable_variables,
        *(model.non_trainable_variables for model in replicas),
        strict=True,
    ):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize("mean", [1.0, 30.0, 1000.0])
def test_synchronised_is_exact_where_the_mean_is_large(mean):
    """Images whose mean is many times their standard deviation."""
    images = mean + tf.random.stateless_normal([8, 6, 6, 3], [1, 2])
    fused, synchronised = _norm(), _norm()
    expected = fused(images, training=True)
    with layers.cross_replica(lambda value: value, replicas=1):
        found = synchronised(images, training=True)
    # A float32 of this size has a spacing of mean * 1.2e-7.
    np.testing.assert_allclose(found, expected, atol=1e-5 + 3e-6 * mean)
    np.testing.assert_allclose(
        synchronised.moving_variance, fused.moving_variance, rtol=1e-3
    )


def test_context_ends_with_its_block():
    layer, images = _norm(), _images()
    local = layer(images, training=True)
    with (
        pytest.raises(KeyError),
        layers.cross_replica(lambda mean: mean + 1.0, replicas=2),
    ):
        assert np.abs(layer(images, training=True) - local).max() > 0.1
        raise KeyError
    np.testing.assert_array_equal(layer(images, training=True), local)


def _mask(first_row=0, rows=64, features=(7, 3), step=5, rate=0.3, name="d"):
    layer = layers.Dropout(rate, name=name)
    with layers.random_rows([11, step], first_row):
        return layer(tf.ones([rows, *features]), training=True).numpy() != 0


def test_dropout_masks_do_not_depend_on_the_split():
    whole = _mask()
    for size in (1, 16, 32):
        parts = [_mask(row, size) for row in range(0, 64, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_dropout_masks_differ_by_step_row_and_layer():
    mask = _mask()
    assert len(np.unique(mask.reshape(64, -1), axis=0)) == 64
    for other in (_mask(step=6), _mask(name="e"), _mask(first_row=64)):
        # Independent masks agree in 0.7^2 + 0.3^2 = 58 % of the places.
        assert 0.5 < np.mean(mask == other) < 0.66


def test_dropout_mask_is_the_same_in_every_process():
    assert "".join(
        map(str, _mask(rows=2, features=(16,)).astype(int).flat)
    ) == ("11100101101101101111111100001010")


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_everywhere(rate):
    mask = _mask(rows=1000, features=(200,), rate=rate)
    deviation = np.sqrt(rate * (1 - rate))
    assert abs(mask.mean() - (1 - rate)) < 4 * deviation / np.sqrt(mask.size)
    # No row and no feature is favoured: five sigma for each mean.
    for axis in (0, 1):
        limit = 5 * deviation / np.sqrt(mask.shape[axis])
        assert np.abs(mask.mean(axis) - (1 - rate)).max() < limit
    neighbours = np.corrcoef(mask[:, :-1].ravel(), mask[:, 1:].ravel())[0, 1]
    rows = np.corrcoef(mask[:-1].ravel(), mask[1:].ravel())[0, 1]
    assert max(abs(neighbours), abs(rows)) < 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_scales_what_it_keeps(dtype):
    layer = layers.Dropout(0.75, name="d", dtype=keras.DTypePolicy(dtype))
    inputs = tf.fill([8, 50], tf.constant(1.5, dtype))
    with tf.GradientTape() as tape, layers.random_rows([1, 2], 0):
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    assert outputs.dtype == dtype
    assert set(np.unique(tf.cast(outputs, tf.float32))) == {0.0, 6.0}
    np.testing.assert_array_equal(
        tape.gradient(outputs, inputs), outputs / tf.constant(1.5, dtype)
    )


def test_dropout_in_graphs_and_under_xla():
    layer = layers.Dropout(0.3, name="d")

    def masked(step, first_row):
        with layers.random_rows(tf.stack([11, step]), first_row):
            return layer(tf.ones([64, 7, 3]), training=True)

    signature = [tf.TensorSpec([], tf.int32)] * 2
    for jit in (False, True):
        compiled = tf.function(masked, signature, jit_compile=jit)
        np.testing.assert_array_equal(compiled(5, 64) != 0, _mask(first_row=64))


def test_dropout_needs_its_rows():
    layer = layers.Dropout(0.3, name="drop")
    inputs = tf.ones([2, 3])
    with pytest.raises(RuntimeError, match=r"'drop'.*outside.*random_rows"):
        layer(inputs, training=True)
    np.testing.assert_array_equal(layer(inputs, training=False), inputs)
    np.testing.assert_array_equal(layer(inputs), inputs)
    always = layers.Dropout(0.0)
    np.testing.assert_array_equal(always(inputs, training=True), inputs)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rejects_bad_rates(rate):
    with pytest.raises(ValueError, match=f"rate={rate}: must be"):
        layers.Dropout(rate)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dropout(0.25, name="d"),
        layers.BatchNormalization(0.8, 1e-3, "zeros", name="n"),
    ],
)
def test_layers_survive_serialisation(layer):
    config = keras.layers.serialize(layer)
    again = keras.layers.deserialize(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
