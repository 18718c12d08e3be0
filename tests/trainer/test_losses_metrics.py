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
