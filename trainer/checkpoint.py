"""Checkpoints: a directory that is whole, or is not there.

A checkpoint is written under a temporary name: the arrays of all variables in
one file, then a manifest with its checksum. Renaming the directory commits it.
Reading verifies the checksum and takes the newest checkpoint that passes.
"""

import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from trainer import errors, files

_FORMAT = 1
_ARRAYS = "variables.npz"
_MANIFEST = "manifest.json"
_TEMPORARY = ".tmp"
_NAME = re.compile(r"step-(\d{9,})")


class Corrupt(Exception):  # noqa: N818 - a state of a file
    """A checkpoint does not verify; the message says why."""


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        directory: model_dir/checkpoints; made when first written to.
        keep: How many of the newest to keep, at least 1.
    """

    directory: str
    keep: int = 3

    def steps(self) -> list[int]:
        """Returns the steps of all committed checkpoints, rising."""
        if not tf.io.gfile.isdir(self.directory):
            return []
        names = tf.io.gfile.listdir(self.directory)
        matches = (_NAME.fullmatch(name.rstrip("/")) for name in names)
        return sorted(int(match.group(1)) for match in matches if match)

    def path(self, step: int) -> str:
        """Returns the directory of the checkpoint of a step."""
        return os.path.join(self.directory, f"step-{step:09d}")

    def save(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes and commits a checkpoint, then drops the oldest ones.

        Nothing happens where the step has one already that verifies.
        """
        final = self.path(step)
        if step in self.steps():
            try:
                read(final)
                return
            except Corrupt as corrupt:
                logging.warning("Replacing a checkpoint: %s", corrupt)
                tf.io.gfile.rmtree(final)
        temporary = final + _TEMPORARY
        tf.io.gfile.makedirs(self.directory)
        self._drop_half_written()
        tf.io.gfile.makedirs(temporary)
        _write_arrays(temporary, step, arrays)
        for path in (_ARRAYS, _MANIFEST, ""):
            files.sync(os.path.join(temporary, path))
        tf.io.gfile.rename(temporary, final)
        files.sync(self.directory)
        for old in self.steps()[: -self.keep]:
            tf.io.gfile.rmtree(self.path(old))

    def _drop_half_written(self) -> None:
        """Removes what a save that was killed has left."""
        for name in tf.io.gfile.listdir(self.directory):
            if name.rstrip("/").endswith(_TEMPORARY):
                tf.io.gfile.rmtree(os.path.join(self.directory, name))

    def restore_newest(
        self, variables: Mapping[str, tf.Variable]
    ) -> int | None:
        """Sets variables to the newest checkpoint that verifies.

        Args:
            variables: By name; all of them must be in the checkpoint.

        Returns:
            Its step, or None where there is no checkpoint at all.

        Raises:
            errors.ConfigError: None verifies, or the variables are others.
        """
        problems = []
        for step in reversed(self.steps()):
            try:
                arrays = read(self.path(step))
            except Corrupt as corrupt:
                logging.warning("Skipping a checkpoint: %s", corrupt)
                problems.append(str(corrupt))
                continue
            assign(variables, arrays, self.path(step))
            return step
        if problems:
            raise errors.ConfigError(
                f"No checkpoint in {self.directory} can be read, and training "
                "will not silently start again from zero: "
                f"{'; '.join(problems)}. Restore one from a backup, or remove "
                "the directory to start anew."
            )
        return None


def _write_arrays(
    directory: str, step: int, arrays: Mapping[str, np.ndarray]
) -> None:
    buffer = io.BytesIO()
    # An archive member cannot be named like a path on every system.
    keys = {name: f"{i:05d}" for i, name in enumerate(arrays)}
    np.savez(buffer, **{keys[n]: a for n, a in arrays.items()})  # type: ignore[arg-type]
    content = buffer.getvalue()
    with tf.io.gfile.GFile(os.path.join(directory, _ARRAYS), "wb") as file:
        file.write(content)
    manifest = {
        "format": _FORMAT,
        "step": step,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "variables": keys,
    }
    with tf.io.gfile.GFile(os.path.join(directory, _MANIFEST), "w") as file:
        file.write(json.dumps(manifest, indent=1))


def read(path: str) -> dict[str, np.ndarray]:
    """Returns the verified arrays of a checkpoint, by variable name.

    Raises:
        Corrupt: A file is missing, truncated or changed.
    """
    try:
        with tf.io.gfile.GFile(os.path.join(path, _MANIFEST)) as file:
            manifest = json.loads(file.read())
        if manifest["format"] != _FORMAT:
            raise Corrupt(
                f"{path}: format {manifest['format']}, this version reads "
                f"{_FORMAT}"
            )
        with tf.io.gfile.GFile(os.path.join(path, _ARRAYS), "rb") as file:
            content = file.read()
        if len(content) != manifest["bytes"]:
            raise Corrupt(
                f"{path}: {_ARRAYS} has {len(content)} bytes, not "
                f"{manifest['bytes']}"
            )
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise Corrupt(f"{path}: the checksum of {_ARRAYS} is wrong")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {n: arrays[k] for n, k in manifest["variables"].items()}
    except (
        tf.errors.OpError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise Corrupt(f"{path}: {reason}") from error


def assign(
    variables: Mapping[str, tf.Variable],
    arrays: Mapping[str, np.ndarray],
    path: str,
) -> None:
    """Sets variables to arrays of the same names and shapes.

    Raises:
        errors.ConfigError: Names or shapes differ; nothing is assigned.
    """
    missing = sorted(variables.keys() - arrays.keys())
    extra = sorted(arrays.keys() - variables.keys())
    wrong = [
        f"{name} is {arrays[name].shape} there and {tuple(v.shape)} here"
        for name, v in variables.items()
        if name in arrays and arrays[name].shape != tuple(v.shape)
    ]
    if missing or extra or wrong:
        raise errors.ConfigError(
            f"{path} is of another model or optimizer: it lacks {missing[:5]}, "
            f"has besides {extra[:5]}, and {wrong[:5]}. Use the gin file it "
            "was trained with, or a new --model_dir."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
