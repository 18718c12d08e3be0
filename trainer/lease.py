"""Holding a directory on gs://, where there are no locks.

OWNER is an object that its owner replaces every few seconds; one that is not
replaced any more belongs to nobody. No clocks are compared: who finds an OWNER
watches it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from absl import logging

from input import gcs
from trainer import holder

# How often OWNER is renewed, and after how long without a renewal another
# process takes over. Five may be lost to a busy network in a row.
RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0


class Lease:
    """The object OWNER on gs://, renewed by a thread while it is held.

    Args:
        model_dir: On gs://.
        otherwise: What else can be done where it is in use, for the message.
        renew_seconds: Between two renewals.
        stale_seconds: Without a renewal, until the object is nobody's.
        on_loss: Called in the thread when another has taken over.
    """

    def __init__(
        self,
        model_dir: str,
        otherwise: str = holder.OTHERWISE,
        renew_seconds: float = RENEW_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        on_loss: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._model_dir = model_dir
        self._otherwise = otherwise
        self._path = os.path.join(model_dir, holder.FILE_NAME)
        self._renew_seconds = renew_seconds
        self._stale_seconds = stale_seconds
        self._on_loss = on_loss
        self._myself = holder.myself()
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
        former = holder.decode(found.content)
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
                raise holder.in_use(
                    self._model_dir, holder.decode(now.content), self._otherwise
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
