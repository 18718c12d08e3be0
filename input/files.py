"""Small files, on a file system or on gs://.

tf.io.gfile serves gs:// too, but what it reads there may be of a size that it
remembers from before another process wrote; see `input.gcs`.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import time
import uuid

from input import gcs

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp$")
_HOUR = 3600


def read(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
    """
    if gcs.is_remote(path):
        return gcs.read(path).content
    with open(path, "rb") as file:
        return file.read()


def exists(path: str) -> bool:
    """Returns whether there is a file of this name."""
    return gcs.exists(path) if gcs.is_remote(path) else os.path.isfile(path)


def remove(path: str) -> None:
    """Removes a file; where it is missing, nothing is done."""
    if gcs.is_remote(path):
        gcs.remove(path)
    elif os.path.exists(path):
        os.remove(path)


def append(path: str, content: bytes) -> None:
    """Adds lines to the end of a file, as several processes may at once.

    It is made if missing; its folder must exist.

    Raises:
      OSError: nothing, or not all, could be written.
    """
    if gcs.is_remote(path):
        gcs.append(path, content)
        return
    # Unbuffered: one write for all of it, at what is the end by then.
    with open(path, "a+b", buffering=0) as file:
        # On a network file system two hosts may see different ends.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_cut_short(file):
            content = b"\n" + content
        if file.write(content) < len(content):
            raise OSError(f"{path}: the disk is full; half a line is written")


def _is_cut_short(file: io.FileIO) -> bool:
    """Returns whether the last line has no end: a crash in the midst of it."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def write_atomically(path: str, content: bytes) -> None:
    """Writes a file that readers see either complete or not at all.

    It is written under a unique temporary name beside its place, then
    renamed over whatever was there; missing folders are made. Two writers
    at once do no harm: the last one wins. On gs:// one upload does all that.

    Args:
      path: local or remote (`gs://`) path.
      content: the whole file.

    Raises:
      OSError: it cannot be written; what was there is there still.
    """
    if gcs.is_remote(path):
        gcs.write(path, content)
        return
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def probe(folder: str) -> None:
    """Makes a folder, if missing, and makes sure that it can be written to.

    Raises:
      OSError, tf.errors.OpError: it cannot.
    """
    path = os.path.join(folder, f".probe-{os.getpid()}")
    write_atomically(path, b"probe")
    remove(path)


def remove_leftovers(folder: str) -> None:
    """Removes what writers of a local folder left when they were killed.

    Args:
      folder: with files of `write_atomically`, of which others may be writing
        one now: what is younger than an hour stays.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _TEMPORARY.search(entry.name):
                continue
            # Another may have been faster.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime > _HOUR:
                    os.remove(entry.path)


def sync(path: str) -> None:
    """Makes a local file or folder survive a power cut from here on.

    Object stores need no such thing: what they have acknowledged stays.
    """
    if not os.path.exists(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
