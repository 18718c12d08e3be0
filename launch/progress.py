"""Progress of an installation: steps with the time, programs with a log."""

import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

_TAIL_LINES = 40
_POLL_SECONDS = 0.5
_SHOW_SECONDS = 20.0
# As make writes it.
_PERCENT = re.compile(rb"\[ *(\d+)%\]")


class StepError(RuntimeError):
    """A program has failed; the message has the end of its output."""


class Progress:
    """Says what is done and how long it has taken so far.

    Args:
        log: File that the output of programs is added to.
        show: Shows a line.
    """

    def __init__(
        self, log: pathlib.Path, show: Callable[[str], None] = print
    ) -> None:
        self._log = log
        self._show = show
        self._began = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()

    def step(self, text: str) -> None:
        """Shows what is done next."""
        self._show(f"[{time.monotonic() - self._began:4.0f} s] {text}")

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        timeout: float = float("inf"),
    ) -> str:
        """Runs a program and returns what it has written.

        Args:
            command: Program and arguments.
            environment: All its environment variables.
            timeout: Seconds that it may take.

        Raises:
            StepError: It failed or took too long.
        """
        with self._log.open("ab", buffering=0) as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            start = log.tell()
            with subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process:
                try:
                    ended = self._wait(process, start, timeout)
                finally:
                    if process.poll() is None:
                        # Its compilers would outlive it.
                        os.killpg(process.pid, signal.SIGKILL)
        output = self._written_since(start).decode(errors="replace")
        if process.returncode or not ended:
            tail = "\n".join(output.splitlines()[-_TAIL_LINES:])
            how = (
                f"exit code {process.returncode}"
                if ended
                else f"no end after {timeout:.0f} s"
            )
            raise StepError(
                f"{tail}\n{' '.join(command)}\nfailed ({how}); the lines above "
                f"are the end of {self._log}"
            )
        return output

    def _wait(
        self, process: subprocess.Popen, start: int, timeout: float
    ) -> bool:
        """Returns whether the program has ended in time."""
        began = shown = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            if now - began > timeout:
                return False
            if now - shown > _SHOW_SECONDS:
                shown = now
                percents = _PERCENT.findall(self._written_since(start))
                if percents:
                    self.step(f"  {percents[-1].decode()} % compiled")
            time.sleep(_POLL_SECONDS)
        return True

    def _written_since(self, start: int) -> bytes:
        with self._log.open("rb") as log:
            log.seek(start)
            return log.read()
