"""Known logits give known metrics; scikit-learn is the referee."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from sklearn import metrics as sklearn

from input import spec
from tests.conftest import make_engine, make_recipe
from trainer import (
    best,
    errors,
    losses,
    metrics,
    predictions,
    scoring,
)

SIGMOID = losses.Loss(
    lambda labels, logits: tf.reduce_sum(
        tf.nn.sigmoid_cross_entropy_with_logits(
            labels
            if labels.shape.rank == 2
            else tf.one_hot(labels, logits.shape[1]),
            logits,
        ),
        axis=1,
    ),
    tf.nn.sigmoid,
)


def predict(labels, logits, loss, threshold=0.5) -> predictions.Predictions:
    """What a network with these logits is found to say, in two batches."""
    gathering = predictions.Gathering(logits.shape[1])
    for some in np.array_split(np.arange(len(logits)), 2):
        batch = {
            spec.IMAGE: tf.constant(logits[some]),
            spec.LABEL: tf.constant(labels[some]),
            spec.MASK: tf.ones(len(some)),
            spec.INDEX: tf.constant(some, tf.int64),
        }
        found = predictions.of_batch(
            lambda images: images,
            lambda images: images,
            loss,
            batch,
            softmax=metrics.is_softmax(loss),
            threshold=threshold,
        )
        gathering.add({name: v.numpy() for name, v in found.items()})
    return gathering.total(make_engine(1), len(logits))[0]


def score(found, loss, **settings) -> scoring.Scores:
    return scoring.Scoring(**settings).score(
        found,
        lambda logits: loss.probabilities(tf.constant(logits)).numpy(),
        "softmax" if metrics.is_softmax(loss) else "sigmoid",
    )


@pytest.fixture(scope="module")
def one_class():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 6, 150).astype(np.int32)
    logits = rng.normal(size=(150, 6)).astype(np.float32)
    logits[np.arange(150), labels] += 1.5
    loss = losses.softmax_cross_entropy()
    scored = score(predict(labels, logits, loss), loss, top_k=(2, 4))
    return labels, logits, scored


def test_one_class_agrees_with_scikit_learn(one_class) -> None:
    labels, logits, scored = one_class
    chosen, probabilities = logits.argmax(1), special.softmax(logits, axis=1)
    hot = labels[:, None] == np.arange(6)
    expected = {
        "top_1_accuracy": sklearn.accuracy_score(labels, chosen),
        "top_2_accuracy": sklearn.top_k_accuracy_score(labels, logits, k=2),
        "top_4_accuracy": sklearn.top_k_accuracy_score(labels, logits, k=4),
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, chosen),
        "nll": sklearn.log_loss(labels, probabilities),
        "loss": sklearn.log_loss(labels, probabilities),
        "brier_score": ((probabilities - hot) ** 2).sum(axis=1).mean(),
        "roc_auc_macro": sklearn.roc_auc_score(
            labels, probabilities, multi_class="ovr"
        ),
        "average_precision_macro": sklearn.average_precision_score(
            hot, probabilities
        ),
    }
    for average in ("macro", "micro", "weighted"):
        scores = sklearn.precision_recall_fscore_support(
            labels, chosen, average=average
        )
        for name, value in zip(
            ("precision", "recall", "f1"), scores[:3], strict=True
        ):
            expected[f"{name}_{average}"] = value
    for name, value in expected.items():
        assert scored.metrics[name] == pytest.approx(value, rel=1e-5), name
    np.testing.assert_array_equal(
        scored.confusion_matrix, sklearn.confusion_matrix(labels, chosen)
    )
    assert "top_5_accuracy" not in scored.metrics


def test_intervals_lie_around_their_metrics(one_class) -> None:
    _, _, scored = one_class
    names = {
        "loss",
        "nll",
        "brier_score",
        "top_1_accuracy",
        "top_2_accuracy",
        "top_4_accuracy",
        "balanced_accuracy",
        "f1_macro",
        "average_precision_macro",
    }
    assert scored.intervals.keys() == names
    for name, (low, high) in scored.intervals.items():
        assert low < scored.metrics[name] < high
        assert high - low < 0.35 * max(1, scored.metrics[name])


def test_a_temperature_calibrates(one_class) -> None:
    """Of logits that are three times too large, it is three times as much."""
    labels, logits, scored = one_class
    loss = losses.softmax_cross_entropy()
    over = score(predict(labels, 3 * logits, loss), loss, resamples=0)
    assert over.metrics["temperature"] == pytest.approx(
        3 * scored.metrics["temperature"], rel=1e-4
    )
    assert over.metrics["nll_scaled"] == pytest.approx(
        scored.metrics["nll_scaled"], rel=1e-5
    )
    assert over.metrics["nll_scaled"] < over.metrics["nll"]
    name = "expected_calibration_error"
    assert over.metrics[f"{name}_scaled"] < over.metrics[name] / 2
    assert over.intervals == {}


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_label_sets_agree_with_scikit_learn(threshold: float) -> None:
    rng = np.random.default_rng(9)
    hot = rng.random((120, 4)) < 0.35
    logits = (rng.normal(size=(120, 4)) + 2 * hot - 1).astype(np.float32)
    probabilities = special.expit(logits)
    said = probabilities >= threshold
    found = predict(hot.astype(np.float32), logits, SIGMOID, threshold)
    scored = score(found, SIGMOID, threshold=threshold, resamples=200)
    expected = {
        "subset_accuracy": sklearn.accuracy_score(hot, said),
        "hamming_loss": sklearn.hamming_loss(hot, said),
        "average_precision_macro": sklearn.average_precision_score(
            hot, probabilities
        ),
        "roc_auc_macro": sklearn.roc_auc_score(hot, probabilities),
        "nll": sum(
            sklearn.log_loss(hot[:, i], probabilities[:, i]) for i in range(4)
        ),
        "brier_score": ((probabilities - hot) ** 2).sum(axis=1).mean(),
    }
    for average in ("macro", "micro", "weighted"):
        scores = sklearn.precision_recall_fscore_support(
            hot, said, average=average
        )
        for name, value in zip(
            ("precision", "recall", "f1"), scores[:3], strict=True
        ):
            expected[f"{name}_{average}"] = value
    for name, value in expected.items():
        assert scored.metrics[name] == pytest.approx(value, rel=1e-5), name
    np.testing.assert_array_equal(
        scored.confusion_matrix,
        sklearn.multilabel_confusion_matrix(hot, said),
    )
    assert scored.reliability.counts.sum() == 480
    assert {"subset_accuracy", "f1_micro", "average_precision_macro"} <= (
        scored.intervals.keys()
    )


def test_independent_classes_with_one_label(one_class) -> None:
    """A sigmoid for each class, as of a binary cross entropy."""
    labels, logits, _ = one_class
    scored = score(predict(labels, logits, SIGMOID), SIGMOID, resamples=0)
    expected = sum(
        sklearn.log_loss(labels == i, special.expit(logits[:, i]))
        for i in range(6)
    )
    assert scored.metrics["nll"] == pytest.approx(expected, rel=1e-5)
    assert scored.metrics["nll_scaled"] <= scored.metrics["nll"]


def test_a_large_split_has_no_logits(one_class) -> None:
    labels, logits, _ = one_class
    loss = losses.softmax_cross_entropy()
    found = dataclasses.replace(predict(labels, logits, loss), logits=None)
    scored = score(found, loss)
    assert scored.ranking is None and scored.scaled is None
    assert {"roc_auc_macro", "temperature"}.isdisjoint(scored.metrics)
    assert "top_1_accuracy" in scored.metrics
    assert "average_precision_macro" not in scored.intervals


def test_logits_that_are_no_numbers(one_class) -> None:
    labels, logits, _ = one_class
    loss = losses.softmax_cross_entropy()
    broken = logits.copy()
    broken[3, 1] = np.nan
    scored = score(predict(labels, broken, loss), loss, resamples=20)
    assert np.isnan(scored.metrics["loss"])
    assert np.isnan(scored.metrics["temperature"])
    assert scored.scaled is None
    assert scored.metrics["top_1_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"top_k": (0,)}, r"top_k=\[0\] has 0; each must be at least 1"),
        ({"threshold": 1.0}, "threshold=1.0 must be above 0 and below 1"),
        ({"calibration_bins": 0}, "calibration_bins=0 must be at least 1"),
        ({"resamples": -1}, "resamples=-1 must be at least 1"),
        ({"max_bytes": -1}, "max_bytes=-1 must be at least 0"),
    ],
)
def test_settings_out_of_range(setting, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scoring.Scoring(**setting)


@pytest.mark.parametrize("multi_label", [False, True])
def test_all_names_are_metrics(one_class, multi_label: bool) -> None:
    """What a recipe may name is there, and what is there may be named."""
    labels, logits, scored = one_class
    chosen = scoring.Scoring(top_k=(2, 4))
    if multi_label:
        hot = (labels[:, None] == np.arange(6)).astype(np.float32)
        found = predict(hot, logits, SIGMOID)
        scored = score(found, SIGMOID, top_k=(2, 4), resamples=0)
    names = chosen.names(multi_label, True)
    assert {*names, "temperature"} == scored.metrics.keys()


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (
            ['train.best_metric = "f1_makro"'],
            "best_metric='f1_makro' is not a metric .* Did you mean 'f1_macro'",
        ),
        (
            ['train.best_metric = "top_7_accuracy"'],
            r"For it, bind metrics.top_k = \[7\]",
        ),
        (
            ['train.best_metric = "subset_accuracy"'],
            "'subset_accuracy' is not a metric",
        ),
        (
            [
                'train.best_metric = "roc_auc_macro"',
                "train.metrics = @metrics()",
                "metrics.max_bytes = 100",
            ],
            "'roc_auc_macro' is not a metric",
        ),
        (
            ['eval_data.slices = ["camera"]'],
            "slices=.* 'camera', which is no column .* It has: none",
        ),
    ],
)
def test_metrics_that_are_not_there(bindings, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        make_recipe(*bindings)


def test_configured_metrics_decide() -> None:
    chosen = make_recipe(
        'train.best_metric = "top_7_accuracy"',
        "train.metrics = @metrics()",
        "metrics.top_k = [7]",
    )
    assert chosen.kept_metric == "top_7_accuracy"
    assert make_recipe().kept_metric == "top_1_accuracy"


@pytest.mark.parametrize(
    ("metric", "less"),
    [
        ("expected_calibration_error", True),
        ("hamming_loss", True),
        ("brier_score", True),
        ("slice/camera/accuracy_gap", True),
        ("slice/camera/worst_accuracy", False),
        ("f1_macro", False),
    ],
)
def test_which_is_better(metric: str, less: bool, tmp_path) -> None:
    kept = best.Best(str(tmp_path), metric)
    assert kept.is_better(best.Score(1, 0.1), best.Score(2, 0.2)) == less
