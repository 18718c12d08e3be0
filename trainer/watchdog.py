"""Ends a process that makes no progress, and says where it hangs.

A worker whose peer has stopped waits in an all-reduce for ever. Ending it is
what lets a launcher start all workers again.
"""

import dataclasses
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from trainer import evaluation, loop

# How much later than the timeout a process may end, at most.
_TICK_SECONDS = 1.0
_LAST_WORDS_SECONDS = 3.0


class Patience:
    """The time since the last beat, as far as this process was running.

    A laptop that sleeps and a process that a debugger holds have not hung, and
    one that gets no CPU is not to blame: each tick counts for at most twice its
    period.

    Args:
        period: Seconds from one tick to the next, as planned.
        now: Seconds on the clock of `tick`.
    """

    def __init__(self, period: float, now: float) -> None:
        self._most = 2 * period
        self._last = now
        self._beats = 0
        self._waited = 0.0

    def tick(self, beats: int, now: float) -> float:
        """Returns the seconds since the number of beats has changed.

        Args:
            beats: How many there have been.
            now: Seconds on a clock that does not go back.
        """
        if beats != self._beats:
            self._beats = beats
            self._waited = 0.0
        else:
            self._waited += min(now - self._last, self._most)
        self._last = now
        return self._waited


class Watchdog:
    """Ends this process when no beat has come for too long.

    As a context it watches from beginning to end. One line on stderr says what
    to do, the stacks of all threads follow, and the exit code is 1.

    Args:
        timeout: Seconds, above 0; None: it never ends the process.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._beats = 0
        self._step: int | None = None
        self._over = threading.Event()

    def beat(self, step: int | None = None) -> None:
        """Takes note of progress.

        Args:
            step: Steps taken so far, where they are known.
        """
        if step is not None:
            self._step = step
        self._beats += 1

    def actions(
        self, plan: Sequence[tuple[loop.Trigger, loop.Action]]
    ) -> list[tuple[loop.Trigger, loop.Action]]:
        """Returns actions of `loop.run` that beat before and after."""

        def beating(action: loop.Action) -> loop.Action:
            def act(latest: loop.Progress) -> None:
                self.beat(latest.step)
                action(latest)
                self.beat(latest.step)

            return act

        return [(trigger, beating(action)) for trigger, action in plan]

    def evaluator(self, inner: evaluation.Evaluator) -> evaluation.Evaluator:
        """Returns an evaluator that beats at each batch."""

        def predict(batch: Any) -> Any:
            found = inner.predict(batch)
            self.beat()
            return found

        return dataclasses.replace(inner, predict=predict)

    def __enter__(self) -> "Watchdog":
        if self._timeout is not None:
            threading.Thread(
                target=self._watch,
                args=[self._timeout],
                name="watchdog",
                daemon=True,
            ).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _watch(self, timeout: float) -> None:
        period = min(_TICK_SECONDS, timeout / 10)
        patience = Patience(period, time.monotonic())
        while not self._over.wait(period):
            if patience.tick(self._beats, time.monotonic()) >= timeout:
                give_up(timeout, self._step)


def give_up(
    timeout: float,
    step: int | None,
    end: Callable[[int], object] = os._exit,
) -> None:
    """Writes what is known to stderr, then ends the process with code 1."""
    # Whoever reads stderr may be what hangs.
    last_words = threading.Timer(_LAST_WORDS_SECONDS, end, [1])
    last_words.daemon = True
    last_words.start()
    when = "since the start" if step is None else f"after step {step}"
    print(
        f"error: no progress {when} for {timeout:g} s (train.hang_timeout). If "
        "a step, the first with its compilation, or a checkpoint may take "
        "longer, raise train.hang_timeout. Otherwise look at the other "
        "workers: one that has stopped or died keeps all waiting. Exiting with "
        "code 1, so that a launcher can start all again. The stacks of all "
        "threads:",
        file=sys.stderr,
        flush=True,
    )
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    end(1)
