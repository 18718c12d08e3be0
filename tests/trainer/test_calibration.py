"""Calibration against sums by hand and an independent optimiser."""

import numpy as np
import pytest
from scipy import optimize, special

from trainer import calibration


def make(examples: int = 300, classes: int = 4):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, classes, examples)
    logits = rng.normal(size=(examples, classes))
    logits[np.arange(examples), labels] += 0.5
    return labels, (6 * logits).astype(np.float32)


def test_a_border_belongs_to_the_lower_bin() -> None:
    confidence = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    found = calibration.reliability(confidence, confidence > 0, bins=4)
    assert found.counts.tolist() == [2, 1, 1, 1]


def test_bins_by_hand() -> None:
    confidence = np.array([0.05, 0.1, 0.1001, 0.95, 1.0, 1.0], np.float32)
    right = np.array([0, 1, 0, 1, 1, 0], bool)
    found = calibration.reliability(confidence.astype(np.float64), right, 10)
    # 0.1 in float32 is above 0.1.
    assert found.counts.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    assert found.accuracy[9] == pytest.approx(2 / 3)
    assert found.confidence[9] == pytest.approx(2.95 / 3)
    expected = 1 * 0.05 + 2 * abs(0.5 - 0.10005) + abs(2 - 2.95)
    assert found.error == pytest.approx(expected / 6, rel=1e-5)


def test_error_of_random_predictions() -> None:
    """The definition of Guo et al., section 2, as a loop."""
    rng = np.random.default_rng(6)
    confidence = rng.random(500)
    right = rng.random(500) < 0.7
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / 500 * gap
    found = calibration.reliability(confidence, right)
    assert found.error == pytest.approx(expected, rel=1e-12)


def softmax_nll(labels, logits, inverse):
    chosen = special.log_softmax(inverse * logits.astype(float), axis=1)
    return -chosen[np.arange(len(labels)), labels].mean()


def sigmoid_nll(labels, logits, inverse):
    scaled = inverse * logits.astype(float)
    hot = labels[:, None] == np.arange(logits.shape[1])
    each = hot * special.log_expit(scaled) + ~hot * special.log_expit(-scaled)
    return -each.sum(axis=1).mean()


@pytest.mark.parametrize(
    ("activation", "nll"), [("softmax", softmax_nll), ("sigmoid", sigmoid_nll)]
)
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_temperature_agrees_with_scipy(activation, nll, scale) -> None:
    labels, logits = make()
    logits = logits * np.float32(scale)
    found = calibration.fit_temperature(labels, logits, activation)
    expected = optimize.minimize_scalar(
        lambda log: nll(labels, logits, np.exp(-log)),
        bounds=(-6.9, 6.9),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert np.log(found) == pytest.approx(expected.x, abs=1e-5)
    assert calibration.negative_log_likelihood(
        labels, logits, activation, 1 / found
    ) == pytest.approx(expected.fun, rel=1e-9)


def test_few_passes_are_enough(monkeypatch) -> None:
    """Each reads all logits; bisection alone would take more than 25."""
    passes = []
    likelihood = calibration._likelihood
    monkeypatch.setattr(
        calibration,
        "_likelihood",
        lambda *arguments: passes.append(1) or likelihood(*arguments),
    )
    for activation in ("softmax", "sigmoid"):
        calibration.fit_temperature(*make(), activation)
    assert len(passes) <= 20


def test_chunks_do_not_matter(monkeypatch) -> None:
    labels, logits = make()
    whole = calibration.fit_temperature(labels, logits, "softmax")
    monkeypatch.setattr(calibration, "_CHUNK", 28)
    parts = calibration.fit_temperature(labels, logits, "softmax")
    assert parts == pytest.approx(whole, rel=1e-6)


def test_label_sets() -> None:
    labels, logits = make()
    hot = labels[:, None] == np.arange(4)
    assert calibration.fit_temperature(hot, logits, "sigmoid") == (
        calibration.fit_temperature(labels, logits, "sigmoid")
    )


def test_where_no_temperature_is_best() -> None:
    """All right: the colder, the better, until nothing is left of the NLL."""
    logits = 5 * np.eye(3, dtype=np.float32)
    found = calibration.fit_temperature(np.arange(3), logits, "softmax")
    assert 0.0009 < found < 0.1
    nll = calibration.negative_log_likelihood
    assert nll(np.arange(3), logits, "softmax", 1 / found) < 1e-12
    logits[0, 0] = np.nan
    found = calibration.fit_temperature(np.arange(3), logits, "softmax")
    assert np.isnan(found)
