"""Where the versions of a model are: one folder each, called by its number."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import tensorflow as tf

from input import errors
from trainer.serving import servable

# Where trainer.export puts its models, in its --output.
_MODELS = "saved_model"

# Files by name, with nanoseconds and bytes: what was written anew has others.
Identity = tuple[tuple[str, int, int], ...]


@dataclasses.dataclass(frozen=True)
class Version:
    """A version that is on disk.

    Attributes:
        number: The higher, the newer.
        path: Its folder.
        identity: Tells one export into this folder from another.
    """

    number: int
    path: str
    identity: Identity


@dataclasses.dataclass(frozen=True)
class Place:
    """Where versions are looked for.

    Attributes:
        name: Of the model.
        folder: With a folder for each version.
        only: Name of the one version folder that is served; None for all.
    """

    name: str
    folder: str
    only: str | None = None

    def versions(self) -> list[Version]:
        """Returns what is there, complete, the highest number first.

        A folder that cannot be listed has none.
        """
        if self.only is not None:
            names = [self.only]
        else:
            names = [n for n in _listed(self.folder) if n.isdecimal()]
        found = []
        for name in names:
            path = os.path.join(self.folder, name)
            identity = _identity(path)
            if identity is not None:
                number = int(name) if name.isdecimal() else 1
                found.append(Version(number, path, identity))
        return sorted(found, key=lambda version: -version.number)


def locate(model: str, name: str | None = None) -> Place:
    """Finds the versions of a model.

    Args:
        model: The --output of trainer.export, the folder `saved_model/NAME` in
            it, or the folder of one version.
        name: What to call the model; None for the name of its folder.

    Raises:
        errors.UsageError: There is no model, or there are several.
    """
    folder = model if "://" in model else os.path.abspath(model)
    folder = folder.rstrip("/")
    if _identity(folder) is not None:
        parent, only = os.path.split(folder)
        return Place(name or os.path.basename(parent), parent, only)
    place = Place(name or os.path.basename(folder), folder)
    if place.versions():
        return place
    models = [
        Place(name or each, os.path.join(folder, _MODELS, each))
        for each in sorted(_listed(os.path.join(folder, _MODELS)))
    ]
    models = [each for each in models if each.versions()]
    if len(models) == 1:
        return models[0]
    if models:
        raise errors.UsageError(
            f"--model={model} holds {len(models)} models. Name one of them, "
            f"such as --model={models[0].folder}."
        )
    what = "no model" if tf.io.gfile.isdir(folder) else "not there"
    raise errors.UsageError(
        f"--model={model}: {what}. Give the --output of `python -m "
        "trainer.export`, its folder saved_model/NAME, or one version in it, "
        f"which holds {servable.GRAPH}."
    )


def _listed(folder: str) -> list[str]:
    try:
        return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    except (OSError, tf.errors.OpError):
        return []


def _identity(path: str) -> Identity | None:
    """Returns None where there is no model, or not yet.

    All files count: `cp -r` and rsync bring the graph before the weights.
    """
    try:
        tf.io.gfile.stat(os.path.join(path, servable.GRAPH))
        names = sorted(
            os.path.join(folder, name)
            for folder, _, found in tf.io.gfile.walk(path)
            for name in found
        )
    except (OSError, tf.errors.OpError):
        return None
    found = []
    for name in names:
        # One may have gone in the meantime.
        with contextlib.suppress(OSError, tf.errors.OpError):
            seen = tf.io.gfile.stat(name)
            found.append((name, seen.mtime_nsec, seen.length))
    return tuple(found)
