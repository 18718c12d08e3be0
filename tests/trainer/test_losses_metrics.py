import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import losses, metrics

LOGITS = np.random.default_rng(0).normal(size=(16, 7)).astype(np.float32) * 3
LABELS = np.arange(16, dtype=np.int32) % 7


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_keras_s(smoothing: float) -> None:
    ours = losses.softmax_cross_entropy(smoothing)(LABELS, LOGITS)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )(np.eye(7)[LABELS], LOGITS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_range(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"label_smoothing={smoothing}"):
        losses.softmax_cross_entropy(smoothing)


MANY = (np.random.default_rng(1).uniform(size=(16, 7)) < 0.3).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_keras_s(smoothing: float) -> None:
    """Where an example has several classes; Keras too smooths towards 1/2."""
    loss = losses.binary_cross_entropy(smoothing)
    theirs = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )
    np.testing.assert_allclose(
        loss(MANY, LOGITS), theirs(MANY, LOGITS), rtol=1e-5
    )
    soft = np.eye(7, dtype=np.float32)[LABELS] * (1 - smoothing) + smoothing / 7
    exact = keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")
    np.testing.assert_allclose(
        loss(LABELS, LOGITS), exact(soft, LOGITS), rtol=1e-5
    )
    np.testing.assert_allclose(
        loss.probabilities(LOGITS), 1 / (1 + np.exp(-LOGITS)), rtol=1e-5
    )


@pytest.mark.parametrize("gamma", [0.0, 2.0, 1.5])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_focal_loss_is_keras_s(gamma: float, alpha) -> None:
    loss = losses.sigmoid_focal_loss(gamma, alpha)
    theirs = keras.losses.BinaryFocalCrossentropy(
        from_logits=True,
        gamma=gamma,
        apply_class_balancing=alpha is not None,
        alpha=alpha or 0.25,
        reduction="none",
    )
    for labels, targets in ((MANY, MANY), (LABELS, np.eye(7)[LABELS])):
        np.testing.assert_allclose(
            loss(labels, LOGITS), theirs(targets, LOGITS), rtol=1e-4, atol=1e-6
        )


def test_sigmoid_focal_loss_has_a_gradient_where_it_is_sure() -> None:
    logits = tf.constant([[200.0, -200.0], [-200.0, 200.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.sigmoid_focal_loss(1.5)(tf.constant([0, 0]), logits)
    assert np.isfinite(loss).all()
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).max() < 1e-6 < np.abs(gradient[1]).min()


@pytest.mark.parametrize(
    "loss", [losses.softmax_cross_entropy(), losses.focal_loss()]
)
def test_a_softmax_is_for_one_class(loss: losses.Loss) -> None:
    with pytest.raises(ValueError, match="examples of one class.*binary_cross"):
        loss(MANY, LOGITS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.binary_cross_entropy(1.0), "label_smoothing=1.0"),
        (lambda: losses.binary_cross_entropy(0.0, 0.0), "target_threshold=0.0"),
        (lambda: losses.sigmoid_focal_loss(-1.0), "gamma=-1.0"),
        (lambda: losses.sigmoid_focal_loss(alpha=1.0), "alpha=1.0"),
    ],
)
def test_sigmoid_losses_refuse_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_rank_agrees_with_top_k(k: int) -> None:
    logits = np.round(LOGITS)  # With ties.
    top = tf.math.top_k(logits, k).indices.numpy()
    expected = (top == LABELS[:, None]).any(axis=1)
    np.testing.assert_array_equal(metrics.rank(logits, LABELS) < k, expected)


def test_equal_logits_are_not_all_right() -> None:
    ranks = metrics.rank(tf.zeros([3, 5]), tf.constant([0, 2, 4]))
    assert ranks.numpy().tolist() == [0, 2, 4]


def test_nan_is_never_right() -> None:
    logits = tf.constant([[np.nan, 1.0], [0.0, np.nan]])
    assert metrics.rank(logits, tf.constant([0, 1])).numpy().tolist() == [2, 2]
