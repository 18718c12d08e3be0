"""The file that predictions go to: a row for each picture, CSV or JSON lines.

Rows are written as they come, to a temporary name; the file has its own name
only when all are there.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Literal, Protocol

import numpy as np

from input import files, gcs
from trainer import errors

Format = Literal["csv", "jsonl"]
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
# Of a probability, where float32 has seven digits.
_DIGITS = 6


class Rows(Protocol):
    """Takes the predictions, in the order of the pictures."""

    def add(self, path: str, probabilities: np.ndarray) -> None:
        """Adds the prediction of a picture: float32 [classes]."""

    def add_error(self, path: str, error: str) -> None:
        """Adds a picture that could not be read, and why."""


class _Csv:
    """Columns `path`, `error`, `class_1`, `probability_1` and so on."""

    def __init__(
        self, file: IO[str], names: Sequence[str], top: int, complete: bool
    ) -> None:
        self._writer = csv.writer(file)
        self._names, self._top, self._complete = names, top, complete
        ranked = [
            f"{what}_{rank}"
            for rank in range(1, top + 1)
            for what in ("class", "probability")
        ]
        every = [f"probability: {name}" for name in names] if complete else []
        self._width = len(ranked) + len(every)
        self._writer.writerow(["path", "error", *ranked, *every])

    def add(self, path: str, probabilities: np.ndarray) -> None:
        """Adds a row."""
        cells: list[object] = []
        for index in _best(probabilities, self._top):
            cells += [self._names[index], _rounded(probabilities[index])]
        if self._complete:
            cells += [_rounded(value) for value in probabilities]
        self._writer.writerow([_text(path), "", *cells])

    def add_error(self, path: str, error: str) -> None:
        """Adds a row whose other cells are empty."""
        self._writer.writerow([_text(path), error, *[""] * self._width])


class _Jsonl:
    """An object a line: `path` and `predictions`, or `path` and `error`."""

    def __init__(
        self, file: IO[str], names: Sequence[str], top: int, complete: bool
    ) -> None:
        self._file = file
        self._names, self._top, self._complete = names, top, complete

    def add(self, path: str, probabilities: np.ndarray) -> None:
        """Adds a line."""
        line: dict[str, object] = {
            "path": _text(path),
            "predictions": [
                {
                    "class": self._names[index],
                    "probability": _rounded(probabilities[index]),
                }
                for index in _best(probabilities, self._top)
            ],
        }
        if self._complete:
            line["probabilities"] = [_rounded(v) for v in probabilities]
        self._write(line)

    def add_error(self, path: str, error: str) -> None:
        """Adds a line without predictions."""
        self._write({"path": _text(path), "error": error})

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def format_of(path: str, asked: str | None) -> Format:
    """Returns the format asked for, or that of the file's name.

    Raises:
        errors.ConfigError: Neither says it.
    """
    if asked:
        return "csv" if asked == "csv" else "jsonl"
    for ending, found in FORMATS.items():
        if path.lower().endswith(ending):
            return found
    raise errors.ConfigError(
        f"--output={path} must end in {', '.join(FORMATS)}, or --format must "
        "say csv or jsonl."
    )


@contextlib.contextmanager
def rows(
    path: str,
    kind: Format,
    names: Sequence[str],
    top: int,
    complete: bool,
) -> Iterator[Rows]:
    """Yields what takes the rows of a file, which is there when all are.

    Args:
        path: Of the file; may be on gs://.
        kind: Its format.
        names: Of the classes, in order of the probabilities.
        top: How many classes a row names, the most likely first.
        complete: Whether a row has all probabilities besides.

    Raises:
        errors.OutputError: It cannot be written.
    """
    made = _Csv if kind == "csv" else _Jsonl
    remote = gcs.is_remote(path)
    folder = tempfile.gettempdir() if remote else os.path.dirname(path) or "."
    with errors.writing(path):
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            prefix=f".{os.path.basename(path)}.", suffix=".tmp", dir=folder
        )
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            yield made(file, names, top, complete)
        if remote:
            with open(temporary, "rb") as whole:
                files.write_atomically(path, whole.read())
            return
        files.sync(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError:
        with errors.writing(path):
            raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def _umask() -> int:
    """Returns the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _best(probabilities: np.ndarray, top: int) -> np.ndarray:
    """Returns the most likely classes; of equals the first come first."""
    return np.argsort(-probabilities, kind="stable")[:top]


def _rounded(value: np.float32) -> float:
    return round(float(value), _DIGITS)


def _text(path: str) -> str:
    """Returns a path as text, whatever bytes its name is made of."""
    return path.encode(errors="surrogateescape").decode(errors="replace")
