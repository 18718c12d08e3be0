r"""How long the metrics of a split take, and how much memory.

    python -m benchmarks.metrics
    python -m benchmarks.metrics --examples=50000 --classes=1000

Random logits in place of a network's, scored in this process. Beside it the
same areas by scikit-learn, on as many classes as take it a few seconds.
"""

import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags
from scipy import special
from sklearn import metrics as sklearn

from trainer import predictions, ranking, scoring

_EXAMPLES = flags.DEFINE_integer(
    "examples", 10_000, "Examples of the split.", lower_bound=10
)
_CLASSES = flags.DEFINE_integer(
    "classes", 100, "Classes, at least 2.", lower_bound=2
)
_PEER_CLASSES = flags.DEFINE_integer(
    "peer_classes", 20, "Classes that scikit-learn ranks.", lower_bound=1
)


def made_up(examples: int, classes: int) -> predictions.Predictions:
    """Returns predictions that are right about half of the time."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, examples, np.int32)
    logits = rng.standard_normal((examples, classes), np.float32)
    logits[np.arange(examples), labels] += 2.5
    own = logits[np.arange(examples), labels]
    nll = special.logsumexp(logits, axis=1) - own
    probabilities = special.softmax(logits, axis=1)
    return predictions.Predictions(
        num_classes=classes,
        labels=labels,
        predicted=logits.argmax(axis=1).astype(np.int32),
        loss=nll,
        nll=nll,
        brier=(probabilities**2).sum(axis=1) + 1 - 2 * np.exp(-nll),
        rank=(logits > own[:, None]).sum(axis=1),
        confidence=probabilities.max(axis=1),
        logits=logits,
    )


def _timed(what: str, function: Callable[[], object]) -> float:
    began = time.monotonic()
    function()
    seconds = time.monotonic() - began
    print(f"{what:<44} {seconds:8.2f} s", flush=True)
    return seconds


def _softmax(logits: np.ndarray) -> np.ndarray:
    return special.softmax(logits, axis=1)


def main(arguments: list[str]) -> None:
    """Prints the seconds of each part."""
    if len(arguments) > 1:
        sys.exit(f"error: {arguments[1]!r} is not a flag: see --help.")
    examples, classes = _EXAMPLES.value, _CLASSES.value
    found = made_up(examples, classes)
    probabilities = found.probabilities(_softmax)
    peers = min(_PEER_CLASSES.value, classes)
    print(f"{examples:,} examples, {classes:,} classes")
    chosen = scoring.Scoring()
    _timed(
        "all metrics, 1,000 resamples",
        lambda: chosen.score(found, _softmax, "softmax"),
    )
    _timed(
        "the same without intervals",
        lambda: chosen.score(found, _softmax, "softmax", with_intervals=False),
    )
    if probabilities is None:
        raise ValueError("The logits of made-up predictions are always kept.")
    few = probabilities[:, :peers]
    ours = _timed(
        f"AUC, AP and curves of {peers} classes",
        lambda: ranking.rank_classes(found.labels, few),
    )

    def by_scikit_learn() -> None:
        for number in range(peers):
            hits = found.labels == number
            sklearn.roc_auc_score(hits, few[:, number])
            sklearn.average_precision_score(hits, few[:, number])

    theirs = _timed(
        f"AUC and AP of {peers} classes, scikit-learn", by_scikit_learn
    )
    print(f"{'ratio, scikit-learn / ours':<44} {theirs / ours:8.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory of the process':<44} {peak:8.0f} MiB")


if __name__ == "__main__":
    app.run(main)
