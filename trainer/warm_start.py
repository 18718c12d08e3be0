"""Weights from another run, as far as they fit."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from trainer import archive, checkpoint, errors

_NAME = "train.warm_start"
_MODEL = "model/"
_AVERAGE = "ema/"
_NAMES_IN_REPORT = 5


def load(path: str, variables: Mapping[str, tf.Variable]) -> None:
    """Sets the variables of the model from a checkpoint; logs what matched.

    A variable matches where name and shape are the same. Others keep their
    initial values, such as the head for another number of classes. Averaged
    weights are taken where the other run has them, as its evaluation does. The
    averages of this run begin with the same: those of a frozen layer stay so.

    Args:
        path: A checkpoint, or the model_dir of a run: its best checkpoint, or
            else its newest.
        variables: Of `state.TrainState`.

    Raises:
        errors.ConfigError: There is no checkpoint, or nothing matches.
    """
    found, arrays = _read(path, _NAME)
    there = _weights(arrays)
    ours = {
        name.removeprefix(_MODEL): variable
        for name, variable in variables.items()
        if name.startswith(_MODEL)
    }
    matched = {
        name
        for name, variable in ours.items()
        if name in there and there[name].shape == tuple(variable.shape)
    }
    shapes = [
        f"{name} {there[name].shape} there, {tuple(ours[name].shape)} here"
        for name in sorted((ours.keys() & there.keys()) - matched)
    ]
    if not matched:
        raise errors.ConfigError(
            f"train.warm_start={path!r}: nothing in {found} fits the model. "
            f"Of other shape: {_some(shapes)}; only there: "
            f"{_some(sorted(there.keys() - ours.keys()))}; only here: "
            f"{_some(sorted(ours.keys() - there.keys()))}. Name a run of the "
            "same kind of model."
        )
    for name in matched:
        ours[name].assign(there[name])
        average = variables.get(f"{_AVERAGE}{name}")
        if average is not None:
            average.assign(there[name])
    logging.info(
        "Warm start from %s: %d of %d variables matched. Of other shape: %s. "
        "Only there: %s. Only here, left as initialised: %s.",
        found,
        len(matched),
        len(ours),
        _some(shapes),
        _some(sorted(there.keys() - ours.keys())),
        _some(sorted(ours.keys() - there.keys())),
    )


def weights(path: str, name: str) -> tuple[str, dict[str, np.ndarray]]:
    """Returns which checkpoint was found, and the weights in it.

    Args:
        path: As of `load`.
        name: Of the setting that it is the value of, for messages.

    Returns:
        The checkpoint's folder; arrays by their names in the model, averages
        where there are any.

    Raises:
        errors.ConfigError: There is none, or none can be read.
    """
    found, arrays = _read(path, name)
    return found, _weights(arrays)


def check(path: str) -> None:
    """Makes sure, before training, that there is something to start from.

    Raises:
        errors.ConfigError: There is no checkpoint.
    """
    _candidates(path, _NAME)


def _candidates(path: str, name: str) -> list[str]:
    """Returns the checkpoints to try, the most wanted first."""
    if archive.is_there(path):
        return [path]
    for folder in ("best", "checkpoints"):
        inside = checkpoint.Checkpoints(os.path.join(path, folder))
        if steps := inside.steps():
            return [inside.path(step) for step in reversed(steps)]
    raise errors.ConfigError(
        f"{name}={path!r} has no checkpoint. Name the model_dir of a "
        "run, or one folder inside its checkpoints."
    )


def _read(path: str, name: str) -> tuple[str, dict[str, np.ndarray]]:
    problems = []
    for candidate in _candidates(path, name):
        try:
            return candidate, archive.read(candidate)
        except archive.Corrupt as corrupt:
            problems.append(str(corrupt))
    raise errors.ConfigError(
        f"{name}={path!r}: no checkpoint there can be read: "
        f"{'; '.join(problems)}."
    )


def _weights(arrays: archive.Arrays) -> dict[str, np.ndarray]:
    """Returns the weights by their names in the model, averages preferred."""
    found = {}
    for prefix in (_MODEL, _AVERAGE):
        for name, array in arrays.items():
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = array
    return found


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = len(names) - _NAMES_IN_REPORT
    shown = ", ".join(names[:_NAMES_IN_REPORT])
    return f"{shown} and {more} more" if more > 0 else shown
