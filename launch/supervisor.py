"""Watches a set of worker processes: all of them end, or none goes on."""

import contextlib
import math
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from launch import guardian, logs, processes

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_STOPS = (signal.SIGTERM, signal.SIGINT)
# timeout(1) and some terminals send one request to stop twice at once.
_SAME_STOP_SECONDS = 1.0
# For guardians to clear up after a kill, and for us to clear up after them.
_GUARDIAN_SECONDS = 3.0
_SWEEP_SECONDS = 10.0
# The selector takes no more than 24 days; waking up costs nothing.
_LONGEST_SELECT = 3600.0


def say(message: str) -> None:
    """Writes a line of the launcher's own to stderr."""
    logs.write(2, f"launch.local: {message}\n".encode())


class Inbox:
    """The signals that this process has received and has to pass on."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()
        for file in (self._readable, self._writable):
            os.set_blocking(file, False)
        self.stopping = False

    def fileno(self) -> int:
        """Returns a descriptor that is readable when a signal has come."""
        return self._readable

    @contextlib.contextmanager
    def open(self) -> Iterator["Inbox"]:
        """Listens while the context lasts, from the main thread."""
        signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        before = {}
        for number in FORWARDED:
            # nohup asks for hangups to be ignored.
            if signal.getsignal(number) != signal.SIG_IGN or (
                number != signal.SIGHUP
            ):
                before[number] = signal.signal(number, lambda *_: None)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(-1)

    def take(self) -> list[signal.Signals]:
        """Returns the signals that have come, and forgets them."""
        try:
            numbers = os.read(self._readable, 512)
        except BlockingIOError:
            return []
        found = [n for n in map(signal.Signals, numbers) if n in FORWARDED]
        self.stopping = self.stopping or bool(found)
        return found


class Supervisor:
    """Runs workers to the end of the last of them.

    After the first failure the others get SIGTERM, and SIGKILL `grace` seconds
    later. All get SIGKILL `grace` seconds after they were asked to stop for the
    second time.

    Args:
        workers: The workers, which have just been started.
        inbox: Signals to pass on to them.
        grace: Seconds.
        servants: Processes that the workers need, and that end with the last
            of them. Should one end before, that is a failure like any other.
    """

    def __init__(
        self,
        workers: Sequence[processes.Worker],
        inbox: Inbox,
        grace: float,
        servants: Sequence[processes.Worker] = (),
    ) -> None:
        self._workers = workers
        self._servants = servants
        self._all = [*workers, *servants]
        self._dismissed = math.inf
        self._inbox = inbox
        self._grace = grace
        self._failed = False
        self._asked_to_stop = math.inf
        self._forced = False
        # What happens next to those who do not end, and when.
        self._threats: list[tuple[float, Callable[[], None]]] = []

    def run(self) -> None:
        """Returns when all workers and their descendants have ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._inbox, selectors.EVENT_READ)
            for worker in self._all:
                selector.register(worker.status, selectors.EVENT_READ, worker)
            while self._left():
                for key, _ in selector.select(self._timeout()):
                    if key.data is None:
                        self._forward()
                        continue
                    key.data.update()
                    if key.data.cleared:
                        selector.unregister(key.fd)
                self._see_failures()
                self._dismiss()
                self._carry_out()

    def first_failure(
        self,
    ) -> tuple[processes.Worker, processes.Exit] | None:
        """Returns what was the first to end as it should not, and how."""
        failed = [(w, w.exit) for w in self._workers if w.exit and w.exit.code]
        failed += [
            (w, w.exit)
            for w in self._servants
            if w.exit and w.exit.moment < self._dismissed
        ]
        return min(failed, key=lambda found: found[1].moment, default=None)

    def _left(self) -> list[processes.Worker]:
        return [worker for worker in self._all if not worker.cleared]

    def _dismiss(self) -> None:
        """Ends the servants when there is nobody left to serve."""
        if not all(worker.cleared for worker in self._workers):
            return
        self._dismissed = min(self._dismissed, time.monotonic())
        for servant in self._servants:
            servant.kill()

    def _forward(self) -> None:
        for number in self._inbox.take():
            running = [w for w in self._workers if w.exit is None]
            for worker in running:
                worker.send(number)
            say(f"{number.name} passed on to {plural(len(running), 'worker')}.")
            if number in _STOPS and running:
                self._note_stop()

    def _note_stop(self) -> None:
        """Sees to it that a second request to stop is not in vain."""
        now = time.monotonic()
        self._asked_to_stop = min(self._asked_to_stop, now)
        again = now >= self._asked_to_stop + _SAME_STOP_SECONDS
        if again and self._force():
            say(
                "asked to stop again: ending all by force after "
                f"{self._grace:g} s."
            )

    def _force(self) -> bool:
        """Sets the time of the end by force, unless it is set already."""
        if self._forced:
            return False
        self._forced = True
        end = time.monotonic() + self._grace
        self._threats = [
            (end, self._kill),
            (end + _GUARDIAN_SECONDS, self._kill_guardians),
        ]
        return True

    def _see_failures(self) -> None:
        failure = self.first_failure()
        if failure is None or self._failed:
            return
        self._failed = True
        failed, how = failure
        running = [w for w in self._workers if w.exit is None]
        # A stop that has been passed on is under way in all of them.
        if not (how.code == processes.PREEMPTED and self._inbox.stopping):
            for worker in running:
                worker.send(signal.SIGTERM)
        if self._force() and running:
            say(
                f"{failed.name} {how.describe()}; ending the "
                f"other{'s' * (len(running) > 1)}, by force after "
                f"{self._grace:g} s."
            )

    def _timeout(self) -> float | None:
        if not self._threats:
            return None
        left = self._threats[0][0] - time.monotonic()
        return min(max(0.0, left), _LONGEST_SELECT)

    def _carry_out(self) -> None:
        while self._threats and time.monotonic() >= self._threats[0][0]:
            self._threats.pop(0)[1]()

    def _kill(self) -> None:
        left = self._left()
        for worker in left:
            worker.kill()
        if left:
            names = ", ".join(worker.label for worker in left)
            say(f"killing what is left of: {names}.")

    def _kill_guardians(self) -> None:
        for worker in self._left():
            worker.kill_guardian()


def clear(workers: Sequence[processes.Worker], spared: set[int]) -> None:
    """Ends what is left of workers, their descendants and their guardians.

    Args:
        workers: The workers. After a regular end nothing of them is left but
            what a guardian that was killed has left behind.
        spared: Processes that were there before the workers.
    """
    for worker in workers:
        worker.kill()
    # A guardian that is killed at once has no time to kill the descendants.
    deadline = time.monotonic() + _GUARDIAN_SECONDS
    for worker in workers:
        worker.wait_for_guardian(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        worker.kill_guardian()
    guardian.end_descendants(0, _SWEEP_SECONDS, spared)
    left = guardian.descendants(os.getpid()) - spared
    if left:
        names = ", ".join(map(str, sorted(left)))
        say(f"the kernel does not end these processes: {names}.")


def plural(number: int, noun: str) -> str:
    """Returns "1 worker", "2 workers"."""
    return f"{number} {noun}{'s' * (number != 1)}"
