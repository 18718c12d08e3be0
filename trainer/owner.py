"""One trainer in a model_dir: the second is told who the first is.

On a file system the owner holds a lock on the file OWNER, which the kernel
takes away when the process ends, however it ends. On gs:// OWNER is an object
that the owner replaces every few seconds; one that is not replaced any more
belongs to nobody. No clocks are compared: who finds an OWNER watches it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from absl import logging

from input import gcs
from trainer import errors

FILE_NAME = "OWNER"
_OTHERWISE = "train in another --model_dir"
# On gs://: how often OWNER is renewed, and after how long without a renewal
# another process takes over. Five may be lost to a busy network in a row.
RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0
_NO_LOCKS_HERE = {errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who holds a model_dir.

    Attributes:
        host: Name of its machine.
        pid: Of its process there.
        since: When it took hold, ISO 8601, UTC.
        command: What was run.
        where: Where `pid` means this process: the boot of a machine and the
            process namespace (of a container). Empty where that is not known.
        token: Tells this owner from all others.
    """

    host: str
    pid: int
    since: str
    command: str
    where: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def encode(self) -> bytes:
        """Returns the content of OWNER."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n"

    def has_ended(self) -> bool:
        """Returns whether it is known, here and now, to be no more."""
        if not self.where or self.where != _where():
            return False
        if self.pid == os.getpid():
            return True  # of an earlier process with our number
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's
        return False


@contextlib.contextmanager
def own(model_dir: str, otherwise: str = _OTHERWISE) -> Iterator[None]:
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
        with _Lease(model_dir, otherwise).held():
            yield
    else:
        with _locked(model_dir, otherwise):
            yield


@contextlib.contextmanager
def _locked(model_dir: str, otherwise: str) -> Iterator[None]:
    path = os.path.join(model_dir, FILE_NAME)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror}. Make it yours, or "
            "train in another --model_dir."
        ) from error
    try:
        supported = _lock(descriptor, path, otherwise)
        former = _decode(os.pread(descriptor, 1 << 16, 0))
        if former and supported:
            logging.warning("The former owner (%s) has ended.", former)
        _sign(descriptor, path)
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
        holder = _decode(os.pread(descriptor, 1 << 16, 0))
        raise _in_use(os.path.dirname(path), holder, otherwise) from None
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
        _replace(descriptor, _myself().encode())
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror}. Make room, or train "
            "in another --model_dir."
        ) from error


def _replace(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


class _Lease:
    """The object OWNER on gs://, renewed by a thread while it is held.

    Args:
        model_dir: On gs://.
        otherwise: See `own`.
        renew_seconds: Between two renewals.
        stale_seconds: Without a renewal, until the object is nobody's.
        on_loss: Called in the thread when another has taken over.
    """

    def __init__(
        self,
        model_dir: str,
        otherwise: str = _OTHERWISE,
        renew_seconds: float = RENEW_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        on_loss: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._model_dir = model_dir
        self._otherwise = otherwise
        self._path = os.path.join(model_dir, FILE_NAME)
        self._renew_seconds = renew_seconds
        self._stale_seconds = stale_seconds
        self._on_loss = on_loss
        self._myself = _myself()
        self._generation = 0
        self._released = threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds it while the context lasts.

        Raises:
            errors.ConfigError: Another process holds it.
        """
        self._acquire()
        thread = threading.Thread(target=self._keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._released.set()
            thread.join(self._renew_seconds)
            with contextlib.suppress(gcs.ChangedError, gcs.StorageError):
                gcs.remove(self._path, self._generation)

    def _acquire(self) -> None:
        while True:
            found = self._read()
            if found.generation:
                self._wait_until_stale(found)
            try:
                self._write(found.generation)
                return
            except gcs.ChangedError:
                # Another came first, or the former owner has gone.
                continue

    def _wait_until_stale(self, found: gcs.Object) -> None:
        """Returns when the object seen is nobody's.

        Raises:
            errors.ConfigError: Its owner has renewed it.
        """
        former = _decode(found.content)
        if former and former.has_ended():
            logging.warning("The former owner (%s) has ended.", former)
            return
        logging.warning(
            "%s is held by %s. Watching for up to %.0f s whether it is alive.",
            self._model_dir,
            former or "somebody",
            self._stale_seconds,
        )
        deadline = time.monotonic() + self._stale_seconds
        while time.monotonic() < deadline:
            time.sleep(self._renew_seconds / 4)
            now = self._read()
            if not now.generation:
                return
            if now.generation != found.generation:
                raise _in_use(
                    self._model_dir, _decode(now.content), self._otherwise
                )
        logging.warning(
            "The former owner (%s) has not been heard of for %.0f s: taking "
            "over.",
            former or "unknown",
            self._stale_seconds,
        )

    def _keep(self) -> None:
        """Renews the object until it is released or lost."""
        while not self._released.wait(self._renew_seconds):
            try:
                self._write(self._generation)
            except gcs.ChangedError:
                logging.error(
                    "%s has been taken over by another process, because this "
                    "one could not renew it for %.0f s. Ending, so as not to "
                    "write over the other's files.",
                    self._path,
                    self._stale_seconds,
                )
                logging.flush()
                self._on_loss()
                return
            except Exception as error:
                # Whatever it is: without this thread the hold would be lost.
                logging.warning("%s was not renewed: %s", self._path, error)

    def _write(self, generation: int) -> None:
        """Replaces the version that is expected.

        Raises:
            gcs.ChangedError: It is another's.
        """
        content = self._myself.encode()
        try:
            self._generation = gcs.write(self._path, content, generation)
        except gcs.ChangedError:
            # The client repeats a request whose answer was lost, and is
            # then refused because of itself.
            now = self._read()
            if now.content != content:
                raise
            self._generation = now.generation

    def _read(self) -> gcs.Object:
        try:
            return gcs.read(self._path)
        except FileNotFoundError:
            return gcs.Object(b"", 0)


def _in_use(
    model_dir: str, holder: Owner | None, otherwise: str
) -> errors.ConfigError:
    by = f"{holder} ({holder.command})" if holder else "another process"
    return errors.ConfigError(
        f"{model_dir} is in use by {by}. Wait until that has ended, stop it, "
        f"or {otherwise}."
    )


def _decode(content: bytes) -> Owner | None:
    """Returns what OWNER says; None where that is nothing."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _myself() -> Owner:
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        command=shlex.join(sys.orig_argv),
        where=_where(),
        token=uuid.uuid4().hex,
    )


def _where() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
