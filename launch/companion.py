"""Something that runs beside a command and ends with it.

A command that takes the place of this process by `exec` gets signals and gives
its exit code without anyone in between. What has to run meanwhile runs in a
child, which Linux kills when this process ends, in whatever way.
"""

import contextlib
import ctypes
import os
import signal
import sys
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
# For the command. A scheduler sends them to all processes of a task.
_DEAF_TO = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def start(running: contextlib.AbstractContextManager[Any]) -> None:
    """Keeps a context open in a child, until this process ends.

    Call it while this process has one thread.

    Args:
        running: Entered in the child; it is not left.

    Raises:
        RuntimeError: The context could not be entered; says why.
    """
    read, written = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        _stay(running, written, parent)
    os.close(written)
    with os.fdopen(read) as answer:
        problem = answer.read()
    if problem:
        os.wait()
        raise RuntimeError(problem)


def _stay(
    running: contextlib.AbstractContextManager[Any], answer: int, parent: int
) -> NoReturn:
    """The child's part."""
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    try:
        # It may have ended before the line above.
        if os.getppid() == parent:
            with running:
                os.close(answer)
                while True:
                    signal.pause()
    except BaseException as error:
        os.write(answer, f"{error or type(error).__name__}".encode())
    finally:
        os._exit(1)
