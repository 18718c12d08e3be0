"""Loads one artefact in a process of its own and says what it finds.

    python -m trainer.parity_worker ARTEFACT WAY SAMPLE.npz FOUND.npz

Nothing of the training is in this process: what an artefact gives here it
gives to whoever loads it. WAY is `tensors` or `image_bytes`.
"""

import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

from trainer import artefacts, errors

BATCH = 32
_WARM_UP = 3
_SECONDS = 1.0
_MOST = 200


def main(artefact: str, way: str, sample: str, found: str) -> None:
    """Writes the probabilities of a sample, and how long they took."""
    model = artefacts.load(artefact)
    with np.load(sample, allow_pickle=False) as arrays:
        ask, rows = _question(model, way, arrays)
    probabilities = np.concatenate(
        [ask(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
    )
    single = _times(lambda i: ask(rows[i % len(rows) :][:1]))
    batch = np.resize(np.arange(len(rows)), BATCH)
    together = _times(lambda _: ask(rows[batch]))
    np.savez(
        found,
        probabilities=probabilities,
        seconds=single,
        batch_seconds=together,
    )


def _question(
    model: artefacts.Artefact, way: str, arrays: Mapping[str, np.ndarray]
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Returns how to ask a model, and the rows to ask it for."""
    if way == "tensors":
        return model.probabilities, arrays["images"]
    stored, ends = arrays["encoded"].tobytes(), arrays["ends"]
    encoded = [
        stored[begin:end]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    # Of bytes as objects: strings of numpy drop zeros at their end.
    rows = np.array([*encoded, None], object)[:-1]
    return lambda which: model.of_encoded(which.tolist()), rows


def _times(function: Callable[[int], object]) -> list[float]:
    """Returns the seconds of calls, after some to warm up."""
    for i in range(_WARM_UP):
        function(i)
    seconds: list[float] = []
    while len(seconds) < _MOST and sum(seconds) < _SECONDS:
        began = time.perf_counter()
        function(len(seconds))
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except errors.ConfigError as error:
        sys.exit(f"error: {error}")
