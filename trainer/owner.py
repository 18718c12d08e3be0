"""One trainer in a model_dir: the second is told who the first is.

On a file system the owner holds a lock on the file OWNER, which the kernel
takes away when the process ends, however it ends. On gs:// see
trainer/lease.py.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from absl import logging

from input import files, gcs
from trainer import errors, holder, lease

_NO_LOCKS_HERE = {errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}


@contextlib.contextmanager
def own(model_dir: str, otherwise: str = holder.OTHERWISE) -> Iterator[None]:
    """Holds a model_dir, which exists, while the context lasts.

    Args:
        model_dir: Or another directory with one writer.
        otherwise: What else can be done where it is in use, for the message.

    Where the file system knows no locks there is a warning and no protection.
    A process that loses its hold on gs://, because it could not renew it in
    time, ends at once with code 1: from then on it would write over another.

    Raises:
        errors.ConfigError: Another process holds it, or OWNER cannot be
            written.
    """
    if gcs.is_remote(model_dir):
        with lease.Lease(model_dir, otherwise).held():
            yield
    else:
        with _locked(model_dir, otherwise):
            yield


@contextlib.contextmanager
def _locked(model_dir: str, otherwise: str) -> Iterator[None]:
    path = os.path.join(model_dir, holder.FILE_NAME)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror}. Make it yours, or "
            "train in another --model_dir."
        ) from error
    try:
        supported = _lock(descriptor, path, otherwise)
        former = holder.decode(os.pread(descriptor, 1 << 16, 0))
        if former and supported:
            logging.warning("The former owner (%s) has ended.", former)
        _sign(descriptor, path)
        files.remove_leftovers(os.path.dirname(path))
        try:
            yield
        finally:
            # Not removed: another may have opened it to wait for the lock.
            _replace(descriptor, b"")
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str, otherwise: str) -> bool:
    """Takes the lock; returns False where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = holder.decode(os.pread(descriptor, 1 << 16, 0))
        raise holder.in_use(os.path.dirname(path), found, otherwise) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
        logging.warning(
            "%s: this file system has no locks (%s), so nothing keeps a "
            "second trainer away. Start only one.",
            path,
            error.strerror,
        )
        return False
    return True


def _sign(descriptor: int, path: str) -> None:
    try:
        _replace(descriptor, holder.myself().encode())
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror}. Make room, or train "
            "in another --model_dir."
        ) from error


def _replace(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
