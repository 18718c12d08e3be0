"""Stands between the launcher and one worker: nothing outlives either of them.

The launcher runs this file by its path, with Python's standard library alone.
Standard input says what to do: one line of JSON, {"command": [...], "cores":
[...]}, then a byte for each signal that the worker shall get. Its end means
that the launcher is gone, however it ended, or wants no more: the worker and
all its descendants are killed. How the worker ended goes to the file descriptor
that is the only argument: its return code and the time in nanoseconds.

The descendants of a worker, wherever they have moved, become children of this
process when their parents end, because it is a "subreaper"; so none can hide.

What is not covered: if this process is killed by SIGKILL, the kernel kills the
worker (PR_SET_PDEATHSIG) but nothing that the worker has started. The launcher
sees to that, unless it is killed at the same time.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Collection

# How long what a worker leaves behind may take to end after SIGTERM.
LEFTOVER_SECONDS = 1.0
_POLL_SECONDS = 0.01
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_FOUND, _NOT_RUNNABLE = 127, 126
# The launcher decides what the worker hears of these.
_DEAF_TO = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def main(status: int) -> None:
    """Runs the worker that standard input describes, to its end and beyond."""
    # Not ignored: what the worker gets before it has made ready would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
    os.set_inheritable(status, False)
    become_subreaper()
    order, signals = _read_order()
    child_ended = _watch_children()
    worker = _start(order["command"], order["cores"])
    code = _guard(worker, signals, child_ended)
    os.write(status, f"{code} {time.monotonic_ns()}\n".encode())
    end_descendants(LEFTOVER_SECONDS)


def become_subreaper() -> None:
    """Makes this process the parent of descendants that lose theirs."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(v) for v in (value, 0, 0, 0))):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _read_order() -> tuple[dict, bytes]:
    """Returns the first line of standard input, and what came with it."""
    read = b""
    while b"\n" not in read:
        more = os.read(0, 65536)
        if not more:
            sys.exit(0)
        read += more
    line, _, rest = read.partition(b"\n")
    return json.loads(line), rest


def _watch_children() -> int:
    """Returns a file descriptor that becomes readable when a child ends."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    os.set_blocking(readable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return readable


def _start(command: list[str], cores: list[int]) -> int:
    """Returns the process id of the command, in a session of its own."""
    guardian = os.getpid()
    # Forking is safe: there is one thread.
    worker = os.fork()
    if worker:
        return worker
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(0)  # it died before the line above
        if cores:
            os.sched_setaffinity(0, cores)
        # Python has changed these.
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEAF_TO)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr, flush=True)
        missing = isinstance(error, FileNotFoundError)
        os._exit(_NOT_FOUND if missing else _NOT_RUNNABLE)


def _guard(worker: int, signals: bytes, child_ended: int) -> int:
    """Passes signals on until the worker has ended; returns its code."""
    poll = select.poll()
    for file in (0, child_ended):
        poll.register(file, select.POLLIN)
    while True:
        for number in signals:
            os.kill(worker, number)
        signals = b""
        ready = {file for file, _ in poll.poll()}
        if 0 in ready:
            signals = os.read(0, 512)
            if not signals:
                return end_descendants(0)[worker]
        if child_ended in ready:
            os.read(child_ended, 512)
            ended = _reap()
            if worker in ended:
                return ended[worker]


def end_descendants(
    patience: float,
    limit: float = float("inf"),
    spared: Collection[int] = (),
) -> dict[int, int]:
    """Ends all descendants of this process, which must be a subreaper.

    Args:
        patience: Seconds between SIGTERM and SIGKILL; 0: SIGKILL at once.
        limit: Seconds after which to give up: the kernel does not kill what
            waits for a device.
        spared: Process ids that are left alone.

    Returns:
        The return codes of the children that ended, by process id; minus the
        number of the signal that killed them.
    """
    began = time.monotonic()
    asked: set[int] = set()
    ended = _reap()
    while (past := time.monotonic() - began) < limit:
        found = descendants(os.getpid()).difference(spared)
        if not found and (spared or not _has_children()):
            break
        late = past >= patience
        for process in found if late else found - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
        asked |= found
        time.sleep(_POLL_SECONDS)
        ended |= _reap()
    return ended


def descendants(ancestor: int) -> set[int]:
    """Returns the process ids of all descendants of a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # It may have ended since.
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as f:
                # pid (name) state parent: the name may hold anything.
                parent = int(f.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    pending = [ancestor]
    while pending:
        new = set(children.get(pending.pop(), ())) - found
        found |= new
        pending += new
    return found


def _reap() -> dict[int, int]:
    """Returns the codes of the children that have ended, by process id."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            ended[process] = os.waitstatus_to_exitcode(status)
    return ended


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]))
