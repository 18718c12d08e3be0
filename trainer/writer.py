"""Numbers to disk: metrics.jsonl for programs, TensorBoard for people."""

import json
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from input import files
from trainer import errors

Scalar = float | int | str


class Writer:
    """Appends to the metrics of a run; a no-op on all hosts but the chief.

    A restarted run appends as well, and so does an evaluation beside it: where
    a step occurs twice, the later line counts.

    Args:
        model_dir: Of the run.
        enabled: Whether this process writes.
        by: Who writes, if not the trainer: it is in every line, and has its
            own folders for TensorBoard, which wants one writer in each.

    Attributes:
        board_dir: Where TensorBoard's files go.
    """

    def __init__(
        self, model_dir: str, enabled: bool = True, by: str | None = None
    ) -> None:
        self._enabled = enabled
        self._by = by
        self._path = os.path.join(model_dir, "metrics.jsonl")
        self.board_dir = os.path.join(model_dir, "tensorboard")
        self._boards: dict[str, tf.summary.SummaryWriter] = {}

    def write(self, kind: str, step: int, values: Mapping[str, Scalar]) -> None:
        """Writes one line.

        Args:
            kind: `train`, `eval`, `run`, `checkpoint`, `rollback`, `corrupt`
                or `input`.
            step: Steps taken when the values were true.
            values: Those of `train` and `eval` go to TensorBoard too, as far
                as they are numbers.
        """
        if not self._enabled:
            return
        line: dict[str, Scalar] = {"kind": kind, "step": step}
        line["time"] = round(time.time(), 3)
        if self._by is not None:
            line["by"] = self._by
        # JSON knows no inf and nan: null.
        known = {n: v if _finite(v) else None for n, v in values.items()}
        text = json.dumps(line | known, allow_nan=False) + "\n"
        with errors.writing(self._path):
            files.append(self._path, text.encode())
        if kind not in ("train", "eval"):
            return
        name = str(values.get("split", kind))
        name = name if self._by is None else f"{name}_by_{self._by}"
        # The end of its context flushes the writer.
        with (
            errors.writing(self.board_dir),
            self._board(name).as_default(step),
        ):
            for name, value in values.items():
                if not isinstance(value, str):
                    tf.summary.scalar(name, value)

    def _board(self, name: str) -> tf.summary.SummaryWriter:
        if name not in self._boards:
            self._boards[name] = tf.summary.create_file_writer(
                os.path.join(self.board_dir, name)
            )
        return self._boards[name]


def read(model_dir: str) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics that are whole.

    Raises:
        OSError: They are there but cannot be read.
    """
    try:
        content = files.read(os.path.join(model_dir, "metrics.jsonl"))
    except FileNotFoundError:
        return []
    found = []
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            # Cut short by a crash: as if it had not been written.
            continue
        if isinstance(entry, dict) and {"kind", "step"} <= entry.keys():
            found.append(entry)
    return found


def is_new_training(line: Mapping[str, Any]) -> bool:
    """Returns whether training begins with this line, from no checkpoint."""
    if line["kind"] != "run":
        return False
    return not line.get("resumed", line["step"] > 0)


def _finite(value: Scalar) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
