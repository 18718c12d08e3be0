"""Files that are either complete or not there."""

from __future__ import annotations

import os
import uuid

import tensorflow as tf


def write_atomically(path: str, content: bytes) -> None:
    """Writes a file that readers see either complete or not at all.

    It is written under a unique temporary name beside its place, then
    renamed over whatever was there; missing folders are made. Two writers
    at once do no harm: the last rename wins.

    Args:
      path: local or remote (`gs://`) path.
      content: the whole file.
    """
    folder = os.path.dirname(path)
    if folder:
        tf.io.gfile.makedirs(folder)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(content)
        sync(temporary)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
        raise


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


def is_remote(path: str) -> bool:
    """Returns whether a path is on an object store, such as `gs://b/run`."""
    return "://" in path
