"""One checkpoint on disk: a folder that is whole, or does not count.

The arrays of all variables are in one file. A manifest names them and holds
the checksum of that file and its own. On a file system the folder is written
under a temporary name, made durable and renamed: that commits it. An object
store cannot rename: there the manifest is written last, and commits.
"""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from input import files, gcs
from trainer import errors

ARRAYS = "variables.npz"
MANIFEST = "manifest.json"

_FORMAT = 2
_CHECKSUM = "checksum"

Arrays = Mapping[str, np.ndarray]


class Corrupt(Exception):  # noqa: N818 - a state of a file
    """A checkpoint does not verify; the message says why."""


def write(
    path: str,
    temporary: str,
    step: int,
    arrays: Arrays,
    metrics: Mapping[str, float],
) -> None:
    """Writes a checkpoint and commits it, in place of one that may be there.

    Args:
        path: Its folder.
        temporary: The folder's name until it is committed; must not be there.
            Not used on an object store.
        step: Steps taken.
        arrays: By variable name.
        metrics: What is known of these weights; kept in the manifest.

    Raises:
        OSError: The disk fails; so does tf.errors.OpError.
        gcs.ChangedError: Another process has written it meanwhile.
    """
    folder = path if gcs.is_remote(path) else temporary
    if folder == path:
        remove(path, temporary)
    else:
        tf.io.gfile.makedirs(folder)
    # An archive member cannot be named like a path on every system.
    keys = {name: f"{i:05d}" for i, name in enumerate(arrays)}
    size, sha256 = _write_arrays(
        os.path.join(folder, ARRAYS), {keys[n]: a for n, a in arrays.items()}
    )
    manifest = {
        "format": _FORMAT,
        "step": step,
        "metrics": dict(metrics),
        "bytes": size,
        "sha256": sha256,
        "variables": keys,
    }
    manifest[_CHECKSUM] = _checksum(manifest)
    content = json.dumps(manifest, indent=1).encode()
    if folder == path:
        gcs.write(os.path.join(path, MANIFEST), content, generation=0)
        return
    files.write_atomically(os.path.join(folder, MANIFEST), content)
    for name in (ARRAYS, ""):
        files.sync(os.path.join(folder, name))
    if os.path.isdir(path):
        remove(path, f"{temporary}.old")
    elif os.path.exists(path):
        set_aside(path)
    tf.io.gfile.rename(folder, path)
    files.sync(os.path.dirname(path))


class _Hashing(io.RawIOBase):
    """Passes bytes on to a file, and sums them up on the way.

    Args:
        put: Writes bytes to the file.
    """

    def __init__(self, put: Callable[[bytes], object]) -> None:
        self._put = put
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Returns True."""
        return True

    def write(self, data: Any) -> int:
        """Takes all of the bytes."""
        content = bytes(data)
        self.sha256.update(content)
        self.size += len(content)
        self._put(content)
        return len(content)


def _write_arrays(path: str, arrays: Arrays) -> tuple[int, str]:
    """Returns the size of the file and its checksum."""
    with tf.io.gfile.GFile(path, "wb") as file:
        summing = _Hashing(file.write)
        np.savez(summing, **arrays)  # type: ignore[arg-type]
    return summing.size, summing.sha256.hexdigest()


def _checksum(manifest: Mapping[str, Any]) -> str:
    """Returns the checksum of a manifest without that field."""
    rest = {k: v for k, v in manifest.items() if k != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def is_there(path: str) -> bool:
    """Returns whether a folder is a checkpoint, whole or damaged."""
    return files.exists(os.path.join(path, MANIFEST))


def version(path: str) -> str:
    """Returns a text that is another one once a file has been written anew.

    Raises:
        gcs.StorageError: An object store does not answer.
    """
    if gcs.is_remote(path):
        return str(sorted(gcs.generations(path).items()))
    found = []
    for name in (MANIFEST, ARRAYS):
        with contextlib.suppress(OSError):
            seen = os.stat(os.path.join(path, name))
            found.append((name, seen.st_size, seen.st_mtime_ns, seen.st_ino))
    return str(found)


def remove(path: str, temporary: str) -> None:
    """Removes a checkpoint; it stops to count before its files go.

    Where it is missing, or another process removes it, nothing is done.
    """
    if gcs.is_remote(path):
        for name in (MANIFEST, ARRAYS):
            gcs.remove(os.path.join(path, name))
        return
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.rename(path, temporary)
        tf.io.gfile.rmtree(temporary)


def set_aside(path: str) -> str:
    """Keeps a damaged checkpoint under a name that does not count.

    Returns:
        That name; what an earlier damaged one has left there is gone.

    Raises:
        OSError: The disk or the object store fails; so does tf.errors.OpError.
    """
    to = f"{path}.damaged"
    if not gcs.is_remote(path):
        if os.path.isdir(to):
            tf.io.gfile.rmtree(to)
        tf.io.gfile.rename(path, to, overwrite=True)
        return to
    for name in (MANIFEST, ARRAYS):
        with contextlib.suppress(FileNotFoundError):
            content = gcs.read(os.path.join(path, name)).content
            gcs.write(os.path.join(to, name), content)
            gcs.remove(os.path.join(path, name))
    return to


def read(path: str) -> dict[str, np.ndarray]:
    """Returns the verified arrays of a checkpoint, by variable name.

    Raises:
        Corrupt: A file is missing, truncated or changed.
        errors.CheckpointError: A disk or an object store does not answer.
    """
    manifest = read_manifest(path)
    content = _content(path, ARRAYS)
    if len(content) != manifest["bytes"]:
        raise Corrupt(
            f"{path}: {ARRAYS} has {len(content)} bytes, not "
            f"{manifest['bytes']}"
        )
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise Corrupt(f"{path}: the checksum of {ARRAYS} is wrong")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {n: arrays[k] for n, k in manifest["variables"].items()}
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Corrupt(f"{path}: {errors.reason(error)}") from error


def read_manifest(path: str) -> dict[str, Any]:
    """Returns the verified manifest of a checkpoint.

    Raises:
        Corrupt: It is missing, truncated or changed.
        errors.CheckpointError: A disk or an object store does not answer.
    """
    try:
        manifest = json.loads(_content(path, MANIFEST))
        if manifest["format"] != _FORMAT:
            raise Corrupt(
                f"{path}: format {manifest['format']}, this version reads "
                f"{_FORMAT}"
            )
        if manifest[_CHECKSUM] != _checksum(manifest):
            raise Corrupt(f"{path}: the checksum of {MANIFEST} is wrong")
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{path}: {errors.reason(error)}") from error
    return manifest


def _content(path: str, name: str) -> bytes:
    try:
        return files.read(os.path.join(path, name))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Corrupt(f"{path}: {errors.reason(error)}") from error
    except OSError as error:
        # Nothing is known to be wrong with the checkpoint.
        raise errors.CheckpointError(
            f"{path} cannot be read: {errors.reason(error)}. Mend the disk, "
            "its permissions or the network, then run the same command again."
        ) from error


def assign(
    variables: Mapping[str, tf.Variable], arrays: Arrays, path: str
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
