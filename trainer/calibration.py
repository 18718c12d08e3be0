"""Whether a network is as often right as it says, and how to mend it.

Guo et al. 2017, "On Calibration of Modern Neural Networks",
arXiv:1706.04599: expected calibration error, reliability diagram and
temperature scaling.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

Activation = Literal["softmax", "sigmoid"]

BINS = 15
# Log likelihoods of so many numbers at once: 32 MiB in float64.
_CHUNK = 1 << 22
_MOST_STEPS = 100
# Of the logarithm of the temperature: e**-7 is a thousandth.
_LARGEST = 7.0
_TOLERANCE = 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions of some confidence are right.

    Attributes:
      counts: int64 [bins], predictions in each bin. The bins are of equal
        width; bin i holds confidences in (i / bins, (i + 1) / bins].
      confidence: float64 [bins], their mean; 0 in an empty bin.
      accuracy: float64 [bins], the share of them that is right, likewise.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error, in [0, 1].

        The mean distance of accuracy and confidence, weighted by `counts`.
        """
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.counts * gaps).sum() / max(self.counts.sum(), 1))


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS
) -> Reliability:
    """Sorts predictions into bins.

    Args:
      confidence: float [n], probabilities that were given, in [0, 1]; NaN
        counts as 0.
      right: bool [n], whether that came true.
      bins: of equal width, at least 1.
    """
    confidence = np.nan_to_num(confidence.astype(np.float64))
    place = np.ceil(confidence * bins).astype(np.int64) - 1
    place = np.clip(place, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    total = np.maximum(counts, 1)
    return Reliability(
        counts,
        np.bincount(place, confidence, minlength=bins) / total,
        np.bincount(place, right, minlength=bins) / total,
    )


def negative_log_likelihood(
    labels: np.ndarray,
    logits: np.ndarray,
    activation: Activation,
    inverse_temperature: float = 1.0,
) -> float:
    """Mean over the examples of -log of the probability of what was true.

    Args:
      labels: integers [n], or bool [n, C].
      logits: float [n, C].
      activation: what makes probabilities of logits; of `sigmoid` the sum
        over the classes counts.
      inverse_temperature: what logits are multiplied by before.
    """
    return _likelihood(labels, logits, activation, inverse_temperature)[0]


def fit_temperature(
    labels: np.ndarray, logits: np.ndarray, activation: Activation
) -> float:
    """The temperature T for which logits / T have the least NLL.

    The NLL is convex in 1 / T, so that its derivative has one zero: Newton's
    method on the logarithm, kept inside of a bracket. Where no temperature is
    the best, as when all examples are classified right, it is one at which the
    NLL is as good as 0, or the end of the range.

    Args:
      labels: integers [n], or bool [n, C].
      logits: float [n, C].
      activation: what makes probabilities of logits.

    Returns:
      T in [0.0009, 1097]; NaN where a logit is not finite.
    """
    low, high = -_LARGEST, _LARGEST
    log_inverse = 0.0
    for _ in range(_MOST_STEPS):
        inverse = np.exp(log_inverse)
        _, slope, bend = _likelihood(labels, logits, activation, inverse)
        if not np.isfinite(slope):
            return float("nan")
        low, high = (log_inverse, high) if slope < 0 else (low, log_inverse)
        # Derivatives by the logarithm of 1 / T.
        first, second = inverse * slope, inverse * (slope + inverse * bend)
        step = -first / second if second > 0 else np.nan
        proposed = log_inverse + step
        if not low < proposed < high:
            proposed = (low + high) / 2
        if abs(proposed - log_inverse) < _TOLERANCE:
            break
        log_inverse = proposed
    return float(np.exp(-log_inverse))


def _likelihood(
    labels: np.ndarray,
    logits: np.ndarray,
    activation: Activation,
    inverse: float,
) -> tuple[float, float, float]:
    """Mean NLL at an inverse temperature, its first and second derivative."""
    rows = max(1, _CHUNK // logits.shape[1])
    part = _of_softmax if activation == "softmax" else _of_sigmoid
    total = np.zeros(3)
    for start in range(0, len(logits), rows):
        some = slice(start, start + rows)
        total += part(
            labels[some], logits[some].astype(np.float64), float(inverse)
        )
    nll, slope, bend = total / max(len(logits), 1)
    return float(nll), float(slope), float(bend)


def _of_softmax(
    labels: np.ndarray, logits: np.ndarray, inverse: float
) -> np.ndarray:
    """Sums over some rows, float64 [3]."""
    # The largest is taken off first: nothing overflows.
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(inverse * logits)
    normaliser = weights.sum(axis=1)
    mean = (weights * logits).sum(axis=1) / normaliser
    square = (weights * logits * logits).sum(axis=1) / normaliser
    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return np.array(
        [
            (np.log(normaliser) - inverse * own).sum(),
            (mean - own).sum(),
            (square - mean**2).sum(),
        ]
    )


def _of_sigmoid(
    labels: np.ndarray, logits: np.ndarray, inverse: float
) -> np.ndarray:
    """Sums over some rows, of each class on its own, float64 [3]."""
    if labels.ndim == 1:
        labels = labels[:, None] == np.arange(logits.shape[1])
    scaled = inverse * logits
    small = np.exp(-np.abs(scaled))
    probability = np.where(scaled >= 0, 1.0, small) / (1 + small)
    nll = np.maximum(scaled, 0) - scaled * labels + np.log1p(small)
    spread = probability * (1 - probability)
    return np.array(
        [
            nll.sum(),
            ((probability - labels) * logits).sum(),
            (spread * logits**2).sum(),
        ]
    )
