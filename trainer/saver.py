"""Checkpoints written beside training, one after the other."""

import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable

# One that is being written and one that waits: so many copies of the weights
# are in memory at most.
_MOST_UNDER_WAY = 2


# The lowest priority: the step's threads come first where cores are scarce.
_NICE = 19


def _step_back() -> None:
    """Lets other threads of this process go first; Linux can, others cannot."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class Saver:
    """Runs saves in the background, in order.

    A save that fails raises what it failed with at the next `submit`, or at
    `wait`, whichever comes first.
    """

    def __init__(self) -> None:
        # Made for the first save: it lives in the chief alone.
        self._thread: concurrent.futures.ThreadPoolExecutor | None = None
        self._under_way: list[concurrent.futures.Future[None]] = []

    def submit(self, save: Callable[[], None]) -> None:
        """Takes a save; waits while two are under way.

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
        self._under_way.append(self._thread.submit(save))

    def wait(self) -> None:
        """Returns when all saves are committed.

        Raises:
            errors.CheckpointError: One has failed.
        """
        while self._under_way:
            self._under_way.pop(0).result()
