"""The weights that a run gives away: which checkpoint, and read into a net."""

import dataclasses
import os
from collections.abc import Mapping

import keras
import numpy as np
from absl import logging

from trainer import archive, checkpoint, errors

_MODEL = "model/"
_AVERAGE = "ema/"


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights that evaluation sees of a checkpoint.

    Attributes:
        path: Of the checkpoint.
        step: Steps taken.
        metrics: What the checkpoint says of them; empty unless it is in best/.
        arrays: By path of the model's variable; averages (train.ema_decay)
            where the checkpoint has them.
    """

    path: str
    step: int
    metrics: Mapping[str, float]
    arrays: Mapping[str, np.ndarray]

    def assign_to(self, model: keras.Model) -> None:
        """Sets all variables of a model.

        Raises:
            errors.ConfigError: They are others; nothing is assigned.
        """
        archive.assign(
            {v.path: v.value for v in model.variables}, self.arrays, self.path
        )


def read(model_dir: str, path: str | None = None) -> Weights:
    """Reads the best checkpoint of a run, else its newest, or a named one.

    Args:
        model_dir: Of the run.
        path: A checkpoint, such as `runs/digits/checkpoints/step-000001200`.

    Raises:
        errors.ConfigError: There is none, or none can be read.
        errors.CheckpointError: A disk or an object store does not answer.
    """
    problems = []
    for candidate in [path] if path else _candidates(model_dir):
        try:
            manifest = archive.read_manifest(candidate)
            arrays = archive.read(candidate)
        except archive.Corrupt as corrupt:
            logging.warning("Skipping a checkpoint: %s", corrupt)
            problems.append(str(corrupt))
            continue
        return Weights(
            candidate, manifest["step"], manifest["metrics"], _seen(arrays)
        )
    if path:
        raise errors.ConfigError(
            f"--checkpoint={path} is no checkpoint that can be read: "
            f"{problems[0]}. Name a folder such as "
            f"{os.path.join(model_dir, 'checkpoints', 'step-000001200')}, or "
            "leave the flag out for the best one."
        )
    raise errors.ConfigError(
        f"{model_dir} has no checkpoint that can be read"
        f"{': ' if problems else ''}{'; '.join(problems)}. Name the model_dir "
        "of a run that has saved one."
    )


def _candidates(model_dir: str) -> list[str]:
    """Returns the checkpoints to try, the most wanted first."""
    found = []
    for folder in ("best", "checkpoints"):
        inside = checkpoint.Checkpoints(os.path.join(model_dir, folder))
        found += [inside.path(step) for step in reversed(inside.steps())]
    return found


def _seen(arrays: archive.Arrays) -> dict[str, np.ndarray]:
    """Returns the weights by their paths in the model, averages preferred."""
    found = {}
    for prefix in (_MODEL, _AVERAGE):
        for name, array in arrays.items():
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = array
    return found
