"""The output of several processes as one readable log."""

import collections
import os
import re
import select
import selectors
import threading
import time
from collections.abc import Callable, Sequence

from launch import processes

TAIL_LINES = 20
# Progress bars write many times a second.
BAR_SECONDS = 1.0
_LONGEST_LINE = 1 << 20
_READ_BYTES = 1 << 16
_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class Lines:
    r"""Cuts a stream of bytes into lines.

    A progress bar overwrites itself after each "\r". Its states are lines here,
    at most one every BAR_SECONDS, and the last one.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._overwritten = b""
        self._bar_shown = -BAR_SECONDS

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the lines to show, without their ends."""
        self._rest += data
        shown, begin = [], 0
        for end in _END.finditer(self._rest):
            line = self._rest[begin : end.start()]
            begin = end.end()
            if end[0] == b"\r":
                shown += self._bar(line)
            else:
                self._overwritten = b""
                shown.append(line)
        self._rest = self._rest[begin:]
        if len(self._rest) > _LONGEST_LINE:
            shown.append(self._rest)
            self._rest = b""
        return shown

    def _bar(self, line: bytes) -> list[bytes]:
        if not line.strip():
            return []
        if self._clock() - self._bar_shown < BAR_SECONDS:
            self._overwritten = line
            return []
        self._overwritten = b""
        self._bar_shown = self._clock()
        return [line]

    def finish(self) -> list[bytes]:
        """Returns what is left at the end of the stream."""
        last = self._rest.rstrip(b"\r") or self._overwritten
        self._rest = self._overwritten = b""
        return [last] if last else []


class Log(threading.Thread):
    """Copies the output of workers to this process's, line by line.

    Each line is prefixed by the label of its worker; stdout and stderr are
    kept apart. A thread does it, so that a reader that has stopped reading does
    not keep the launcher from hearing signals. Where the reader has gone, the
    lines are dropped: a training of days does not end with a log viewer.

    Args:
        workers: Whose output.
    """

    def __init__(self, workers: Sequence[processes.Worker]) -> None:
        super().__init__(name="log", daemon=True)
        self._selector = selectors.DefaultSelector()
        self._tails: dict[int, collections.deque[bytes]] = {}
        for worker in workers:
            tail: collections.deque[bytes] = collections.deque([], TAIL_LINES)
            self._tails[worker.index] = tail
            for target, file in enumerate(worker.outputs, 1):
                prefix = f"[{worker.label}] ".encode()
                stream = _Stream(target, prefix, tail, Lines())
                self._selector.register(file, selectors.EVENT_READ, stream)

    def run(self) -> None:
        """Copies until all workers and their descendants have ended."""
        with self._selector:
            while self._selector.get_map():
                for key, _ in self._selector.select():
                    data = os.read(key.fd, _READ_BYTES)
                    key.data.take(data)
                    if not data:
                        self._selector.unregister(key.fd)
                        os.close(key.fd)

    def tail(self, index: int) -> bytes:
        """Returns the last lines of a worker, prefixed; call it at the end."""
        return b"".join(self._tails[index])


class _Stream:
    """One stream of one worker on its way to a descriptor of ours."""

    def __init__(
        self,
        target: int,
        prefix: bytes,
        tail: collections.deque[bytes],
        lines: Lines,
    ) -> None:
        self._target = target
        self._prefix = prefix
        self._tail = tail
        self._lines = lines

    def take(self, data: bytes) -> None:
        """Writes the lines of new data; no data is the end."""
        lines = self._lines.feed(data) if data else self._lines.finish()
        prefixed = [b"%b%b\n" % (self._prefix, line) for line in lines]
        self._tail.extend(prefixed)
        write(self._target, b"".join(prefixed))


def write(target: int, data: bytes) -> None:
    """Writes all of the data to a descriptor, unless its reader has gone."""
    try:
        while data:
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:
                # Whoever shares it with us has made it non-blocking.
                select.select([], [target], [])
    except OSError:
        return
