"""Does an exported model say what the checkpoint says? Held to a sample."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from trainer import (
    artefacts,
    errors,
    export_formats,
    inference,
    parity_worker,
    sample,
)

_REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Of a probability, where an example may have several classes.
_THRESHOLD = 0.5
# Of a difference of two shares.
_ROUNDING = 1e-9


class ParityError(errors.OutputError):
    """An artefact differs from the checkpoint; the binaries exit with 1."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What is found of one way to ask one artefact.

    Attributes:
        format: Such as `tflite_int8`.
        way: `tensors` or `image_bytes`.
        examples: Of the sample.
        difference: The largest of any probability.
        mean_difference: The mean over examples of the largest of each.
        agreement: Share of the checkpoint's answers: an example has one, its
            most likely class, or of multi-label data one for each class,
            whether it is above 0.5. Of 80 such answers a sound network that
            is quantised differs somewhere in nearly every example.
        accuracy: Share of examples with the right answer.
        checkpoint_accuracy: The same of the checkpoint.
        bytes: Of the artefact.
        p50_ms: Median time of one example alone, in ms.
        p99_ms: Its 99th percentile.
        images_per_second: In batches of 32; what takes one at a time gets them
            in a row.
        limits: What it was held against.
    """

    format: str
    way: str
    examples: int
    difference: float
    mean_difference: float
    agreement: float
    accuracy: float
    checkpoint_accuracy: float
    bytes: int
    p50_ms: float
    p99_ms: float
    images_per_second: float
    limits: export_formats.Limits

    @property
    def passed(self) -> bool:
        """Whether it differs no more than it may; NaN does."""
        return (
            self.difference <= self.limits.difference
            and self.mean_difference <= self.limits.mean_difference
            and self.agreement >= self.limits.agreement
            and self.lost_accuracy <= self.limits.lost_accuracy + _ROUNDING
        )

    @property
    def lost_accuracy(self) -> float:
        """How much lower the accuracy is; negative where it is higher."""
        return self.checkpoint_accuracy - self.accuracy

    def to_json(self) -> dict[str, Any]:
        """Returns it for export.json."""
        return {**dataclasses.asdict(self), "passed": self.passed}


def check(
    classifier: inference.Classifier,
    held_to: sample.Sample,
    written: Mapping[str, str],
    limits: Mapping[str, export_formats.Limits],
    folder: str,
) -> list[Row]:
    """Loads each artefact in a new process and compares.

    Args:
        classifier: With the weights of the checkpoint.
        held_to: Examples that are not of the training.
        written: Paths of artefacts by format.
        limits: By format.
        folder: For files in passing.

    Raises:
        ParityError: An artefact cannot be loaded, or is above its limits.
    """
    path = os.path.join(folder, "sample.npz")
    np.savez(
        path,
        images=held_to.images,
        ends=np.cumsum([len(e) for e in held_to.encoded]),
        encoded=np.frombuffer(b"".join(held_to.encoded), np.uint8),
    )
    size = parity_worker.BATCH
    expected = np.concatenate(
        [
            classifier.infer(held_to.images[i : i + size])
            for i in range(0, len(held_to.images), size)
        ]
    )
    rows = []
    for name, artefact in written.items():
        ways = (
            artefacts.SavedModel.ways if name == "saved_model" else ("tensors",)
        )
        for way in ways:
            logging.info("Comparing %s (%s) with the checkpoint.", name, way)
            found = os.path.join(folder, "found.npz")
            _ask(name, artefact, way, path, found)
            with np.load(found) as arrays:
                rows.append(
                    _row(
                        (name, way),
                        dict(arrays),
                        expected,
                        held_to.labels,
                        _bytes(artefact),
                        limits[name],
                    )
                )
    if not all(row.passed for row in rows):
        failed = dict.fromkeys(row.format for row in rows if not row.passed)
        raise ParityError(
            f"{', '.join(failed)} differ from the checkpoint more than allowed "
            f"on {len(expected)} examples; nothing has been written.\n"
            f"{table(rows)}\nLeave such a format out of --formats, or allow "
            "more with --tolerance=FORMAT=DIFFERENCE, "
            "--mean_tolerance=FORMAT=DIFFERENCE, --agreement=FORMAT=SHARE and "
            "--lost_accuracy=FORMAT=SHARE. What hardly differs in float32 but "
            "does in int8 is a network that int8 does not suit, or one that "
            "has hardly been trained."
        )
    return rows


def _ask(name: str, artefact: str, way: str, path: str, found: str) -> None:
    """Has another process load an artefact and write what it says."""
    module = [sys.executable, "-m", "trainer.parity_worker"]
    known = [p for p in (_REPO, os.environ.get("PYTHONPATH")) if p]
    answer = subprocess.run(
        [*module, artefact, way, path, found],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(known)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if answer.returncode:
        raise ParityError(
            f"{name} cannot be used in a new process, which ended with code "
            f"{answer.returncode}:\n{answer.stderr.strip()[-2000:]}\nNothing "
            "has been written. Leave this format out of --formats."
        )


def _row(
    which: tuple[str, str],
    found: Mapping[str, np.ndarray],
    expected: np.ndarray,
    labels: np.ndarray,
    size: int,
    limits: export_formats.Limits,
) -> Row:
    said = found["probabilities"]
    answer, ours = _answers(said, labels), _answers(expected, labels)
    differences = np.abs(said - expected).max(axis=1)
    right = labels[:, np.newaxis] if labels.ndim == 1 else labels > _THRESHOLD
    return Row(
        *which,
        examples=len(labels),
        difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        agreement=float((answer == ours).mean()),
        accuracy=float((answer == right).all(axis=1).mean()),
        checkpoint_accuracy=float((ours == right).all(axis=1).mean()),
        bytes=size,
        p50_ms=float(1e3 * np.median(found["seconds"])),
        p99_ms=float(1e3 * np.quantile(found["seconds"], 0.99)),
        images_per_second=float(
            parity_worker.BATCH / np.median(found["batch_seconds"])
        ),
        limits=limits,
    )


def _answers(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns int64 [n, 1] of classes, or bool [n, classes] of multi-label."""
    if labels.ndim == 1:
        return said.argmax(axis=1)[:, np.newaxis]
    return said > _THRESHOLD


def _bytes(path: str) -> int:
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )


def table(rows: Sequence[Row]) -> str:
    """Returns the rows as text, one line each."""
    head = (
        f"{'format':<16}{'input':<13}{'largest':>9}{'allowed':>9}"
        f"{'mean':>9}{'allowed':>9}{'agreement':>11}{'allowed':>9}"
        f"{'accuracy':>10}{'allowed':>9}{'kB':>10}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'images/s':>10}"
    )
    lines = [
        f"{r.format:<16}{r.way:<13}{r.difference:>9.2g}"
        f"{r.limits.difference:>9.2g}{r.mean_difference:>9.2g}"
        f"{r.limits.mean_difference:>9.2g}{100 * r.agreement:>9.2f} %"
        f"{100 * r.limits.agreement:>7.0f} %{100 * r.accuracy:>8.2f} %"
        f"{100 * _least_accuracy(r):>7.2f} %"
        f"{r.bytes / 1e3:>10,.1f}{r.p50_ms:>9.2f}{r.p99_ms:>9.2f}"
        f"{r.images_per_second:>10,.0f}"
        f"{'' if r.passed else '  FAILED'}"
        for r in rows
    ]
    accuracy = 100 * rows[0].checkpoint_accuracy
    last = f"checkpoint: accuracy {accuracy:.2f} %, {rows[0].examples} examples"
    return "\n".join([head, *lines, last])


def _least_accuracy(row: Row) -> float:
    return max(0.0, row.checkpoint_accuracy - row.limits.lost_accuracy)
