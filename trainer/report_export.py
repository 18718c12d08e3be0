"""What the report shows of an export: each artefact beside the checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from input import files

_FILE = os.path.join("evaluation", "export.json")


class Row(NamedTuple):
    """One way to ask one artefact; units as in `parity.Row`."""

    format: str
    way: str
    difference: float
    mean_difference: float
    agreement: float
    accuracy: float
    bytes: int
    p50_ms: float
    p99_ms: float
    images_per_second: float


class Export(NamedTuple):
    """The newest export of a run.

    Attributes:
      name: of the model.
      step: of its weights.
      split: of the examples that it was compared on.
      examples: how many these were.
      checkpoint_accuracy: share that the checkpoint has right.
      rows: in the order of the export.
    """

    name: str
    step: int
    split: str
    examples: int
    checkpoint_accuracy: float
    rows: tuple[Row, ...]


def read(model_dir: str, notes: list[str]) -> Export | None:
    """Reads evaluation/export.json; what is damaged becomes a note.

    Args:
      model_dir: of the run.
      notes: to be added to.
    """
    try:
        content = files.read(os.path.join(model_dir, _FILE))
    except FileNotFoundError:
        return None
    try:
        return _parse(json.loads(content))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        notes.append(f"{_FILE} could not be read: {error!r}.")
        return None


def _parse(found: Mapping[str, Any]) -> Export:
    first = found["parity"][0]
    return Export(
        name=str(found["name"]),
        step=int(found["step"]),
        split=str(found["split"]),
        examples=int(first["examples"]),
        checkpoint_accuracy=float(first["checkpoint_accuracy"]),
        rows=tuple(_row(row) for row in found["parity"]),
    )


def _row(found: Mapping[str, Any]) -> Row:
    return Row(
        format=str(found["format"]),
        way=str(found["way"]),
        difference=float(found["difference"]),
        mean_difference=float(found["mean_difference"]),
        agreement=float(found["agreement"]),
        accuracy=float(found["accuracy"]),
        bytes=int(found["bytes"]),
        p50_ms=float(found["p50_ms"]),
        p99_ms=float(found["p99_ms"]),
        images_per_second=float(found["images_per_second"]),
    )
