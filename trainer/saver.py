"""Checkpoints written beside training, one after the other."""

import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable

from absl import logging

# One that is being written and one that waits: so many copies of the weights
# are in memory at most.
_MOST_UNDER_WAY = 2
# The lowest priority: the step's threads come first where cores are scarce.
_NICE = 19

Save = Callable[[], None]


class Saver:
    """Runs saves in the background, in order.

    A save that fails raises what it failed with at the next `submit`, or at
    `wait`, whichever comes first; what was to follow it is left out, so that
    the last checkpoint is one of which all that came before is kept as well.
    As a context it ends when all saves have.

    Args:
        beat: Called after each save: it has gone on.
    """

    def __init__(self, beat: Callable[[], None] = lambda: None) -> None:
        self._beat = beat
        # Made for the first save: it lives in the chief alone.
        self._thread: concurrent.futures.ThreadPoolExecutor | None = None
        self._under_way: list[concurrent.futures.Future[None]] = []
        self._failed = False

    def submit(self, prepare: Callable[[], Save]) -> None:
        """Takes a save; waits while two are under way.

        Args:
            prepare: Called once there is room; takes what is to be saved, and
                returns what saves it.

        Raises:
            errors.CheckpointError: An earlier one has failed; this one is not
                taken.
        """
        while self._under_way and (
            self._under_way[0].done() or len(self._under_way) >= _MOST_UNDER_WAY
        ):
            self._under_way.pop(0).result()
        if self._thread is None:
            self._thread = concurrent.futures.ThreadPoolExecutor(
                1, "saver", initializer=_step_back
            )
        self._under_way.append(self._thread.submit(self._run, prepare()))

    def wait(self) -> None:
        """Returns when all saves are committed.

        Raises:
            errors.CheckpointError: One has failed.
        """
        while self._under_way:
            self._under_way.pop(0).result()

    def _run(self, save: Save) -> None:
        if self._failed:
            return
        try:
            save()
        except BaseException:
            self._failed = True
            raise
        finally:
            self._beat()

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self.wait()
        except Exception as error:
            if kind is None:
                raise
            # What ends the run already is the more important one.
            logging.error("%s", error)
        finally:
            if self._thread is not None:
                self._thread.shutdown()


def _step_back() -> None:
    """Lets other threads of this process go first; Linux can, others cannot."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
