"""Which pictures are meant: files, folders, globs, gs:// and lists of them."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from input import gcs, image_check
from trainer import errors

STDIN = "-"
# Taken from a folder whatever they hold: what is wrong with them is said.
_EXTENSIONS = tuple(
    ".jpg .jpeg .jpe .jfif .png .gif .bmp .webp .tif .tiff .avif .jp2".split()
)
_MAGIC = "*?["


def paths(arguments: Sequence[str]) -> list[str]:
    """Returns the paths of all pictures, in the order given.

    A folder stands for the pictures in it and below, by name: files that are
    named or begin like one, none of them hidden.

    Args:
        arguments: Files, folders, globs (`**` goes through folders), the same
            on gs://, and `-` for a list on standard input, a path in a line.

    Raises:
        errors.ConfigError: One of them is not there, or there is no picture.
        gcs.StorageError: An object store does not answer.
    """
    found = [
        path
        for argument in _listed(arguments)
        for path in (
            _remote(argument) if gcs.is_remote(argument) else _local(argument)
        )
    ]
    if not found:
        raise errors.ConfigError(
            "There is no picture to predict. Name files, folders or globs, or "
            "give a list of paths on standard input as `-`."
        )
    return found


def _listed(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if argument != STDIN:
            yield argument
            continue
        for line in sys.stdin:
            if path := line.rstrip("\r\n"):
                yield path


def _local(argument: str) -> list[str]:
    if os.path.isdir(argument):
        return sorted(_below(argument))
    if os.path.lexists(argument):
        return [argument]
    if any(letter in argument for letter in _MAGIC):
        matches = sorted(glob.glob(argument, recursive=True))
        if matches:
            return [m for m in matches if not os.path.isdir(m)]
        raise errors.ConfigError(
            f"{argument}: nothing matches. Quote a glob that contains `**`, "
            "and look at where it begins."
        )
    raise errors.ConfigError(
        f"{argument}: no such file or folder. Name a picture, a folder of "
        "pictures or a glob."
    )


def _below(folder: str) -> Iterator[str]:
    """Yields the pictures in a folder and in those below it."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(place, name)
            if not name.startswith(".") and _is_picture(path):
                yield path


def _is_picture(path: str) -> bool:
    try:
        # A pipe would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
    except OSError:
        return path.lower().endswith(_EXTENSIONS)
    return path.lower().endswith(_EXTENSIONS) or image_check.looks_like_image(
        path
    )


def _remote(argument: str) -> list[str]:
    try:
        if any(letter in argument for letter in _MAGIC):
            matches = sorted(tf.io.gfile.glob(argument))
            if matches:
                return matches
        elif gcs.exists(argument):
            return [argument]
    except tf.errors.OpError as error:
        raise gcs.StorageError(f"{argument}: {error.message}") from error
    names = sorted(
        name
        for name in gcs.sizes(argument.rstrip("/"))
        if name.lower().endswith(_EXTENSIONS)
    )
    if not names:
        raise errors.ConfigError(
            f"{argument}: no such object, and no pictures below it. Name an "
            "object, a folder or a glob."
        )
    return [f"{argument.rstrip('/')}/{name}" for name in names]
