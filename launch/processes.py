"""One worker process as the launcher sees it: with a guardian in between.

See launch/guardian.py for what that is good for.
"""

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence

from launch import guardian, usage

# Of a training that was asked to stop and has committed a checkpoint.
PREEMPTED = 75
# Descriptors of a worker here: outputs, status, control; and Horovod's
# rendezvous server answers it.
_DESCRIPTORS = 5
# Those of a start, of selectors, of reading /proc.
_OTHER_DESCRIPTORS = 24


@dataclasses.dataclass(frozen=True)
class Exit:
    """How a worker ended.

    Attributes:
        code: Exit code as a shell gives it: 128 + n after signal n.
        moment: When, in seconds of time.monotonic().
        killed: Whether by a signal.
    """

    code: int
    moment: float
    killed: bool = False

    def describe(self) -> str:
        """Returns what to say of it after the worker's name."""
        if not self.killed:
            verb = "stopped" if self.code == PREEMPTED else "failed"
            return f"{verb} with exit code {self.code}"
        name = _signal_name(self.code - 128)
        return f"was killed by {name} (exit code {self.code})"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


def check_open_files(workers: int, servers: int) -> None:
    """Makes sure that this process can have so many workers and servers.

    Raises:
        UsageError: It may not open as many files as that takes.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd"))
    needed = opened + (workers + servers) * _DESCRIPTORS
    needed += _OTHER_DESCRIPTORS
    if needed > limit != resource.RLIM_INFINITY:
        raise usage.UsageError(
            f"--workers={workers} needs {needed} open files, but the limit is "
            f"{limit}. Call `ulimit -n {needed}` before, or start fewer."
        )


class Worker:
    """A worker process, started at once.

    Args:
        index: Its number among the workers.
        command: What to run, and its arguments.
        environment: All its environment variables.
        cores: The cores it may run on; empty for all.
        name: What to call it. Default: "worker" and its number.

    Attributes:
        index: Its number among the workers.
        name: What to call it in messages.
        label: What stands before each line of its output.
        outputs: Descriptors of what it writes to its stdout and its stderr.
            Whoever reads them closes them.
        status: Descriptor that becomes readable when `update` has news.
        exit: How it ended; None while it runs.
        cleared: Whether its descendants have ended too.
    """

    def __init__(
        self,
        index: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        cores: Collection[int] = (),
        name: str | None = None,
    ) -> None:
        self.index = index
        self.name = name or f"worker {index}"
        self.label = name or str(index)
        self.exit: Exit | None = None
        self.cleared = False
        self.status, status = os.pipe()
        control, self._control = os.pipe()
        stdout, out = os.pipe()
        stderr, err = os.pipe()
        self.outputs = (stdout, stderr)
        try:
            self._guardian = subprocess.Popen(
                # Isolated: it must not see the worker's PYTHONPATH.
                [sys.executable, "-I", "-S", guardian.__file__, str(status)],
                stdin=control,
                stdout=out,
                stderr=err,
                pass_fds=[status],
                env=environment,
                start_new_session=True,
            )
        finally:
            for file in (status, control, out, err):
                os.close(file)
        order = {"command": list(command), "cores": sorted(cores)}
        self._write(json.dumps(order).encode() + b"\n")

    def send(self, number: int) -> None:
        """Gives the worker a signal, unless it has ended."""
        self._write(bytes([number]))

    def _write(self, data: bytes) -> None:
        if self._control < 0:
            return
        # The guardian ends with its worker.
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._control, data) :]

    def kill(self) -> None:
        """Kills the worker and its descendants; `update` tells when done."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1

    def kill_guardian(self) -> None:
        """Kills the guardian, and so the worker, but not its descendants."""
        if not self.cleared:
            self._guardian.kill()

    def wait_for_guardian(self, seconds: float) -> None:
        """Waits until the guardian has ended, but not longer."""
        if not self.cleared:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.wait(seconds)

    def update(self) -> None:
        """Takes note of news; call it when `status` is readable."""
        news = os.read(self.status, 256)
        if news:
            code, nanoseconds = (int(word) for word in news.split())
            self.exit = _exit(code, nanoseconds / 1e9)
            return
        self.kill()
        code = self._guardian.wait()
        os.close(self.status)
        self.cleared = True
        if self.exit is None:
            self.exit = _exit(code or 1, time.monotonic())


def _exit(code: int, moment: float) -> Exit:
    return Exit(128 - code if code < 0 else code, moment, code < 0)
