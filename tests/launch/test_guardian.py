"""The process between launcher and worker; more is in test_local.py."""

import json
import os
import signal
import subprocess
import sys

import pytest

from launch import guardian


def guard(command: list[str], signals: bytes = b"", cores=()) -> int:
    """Runs a worker; the launcher does no more than give its order."""
    readable, writable = os.pipe()
    order = json.dumps({"command": command, "cores": list(cores)}).encode()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__, str(writable)],
        stdin=subprocess.PIPE,
        pass_fds=[writable],
    ) as process:
        os.close(writable)
        process.stdin.write(order + b"\n" + signals)
        process.stdin.flush()
        with os.fdopen(readable) as status:
            code, moment = status.readline().split()
        assert int(moment) > 0
    assert process.returncode == 0
    return int(code)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", -15)]
)
def test_how_a_worker_ends_is_reported(script: str, code: int) -> None:
    assert guard(["sh", "-c", script]) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_early_is_not_lost(number: int) -> None:
    # The worker is between fork and exec.
    for _ in range(10):
        assert guard(["sleep", "60"], bytes([number])) == -number


def test_the_worker_gets_every_signal() -> None:
    script = """
import signal
for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
    assert signal.getsignal(number) != signal.SIG_IGN, number
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""
    assert guard([sys.executable, "-S", "-c", script]) == 0


def test_the_end_of_the_order_is_the_end_of_everything() -> None:
    process = subprocess.run(
        [sys.executable, "-I", "-S", guardian.__file__, "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (process.returncode, process.stdout) == (0, b"")


def test_descendants_are_found() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sh -c 'sleep 60 & echo; wait'; true"],
        stdout=subprocess.PIPE,
    ) as shell:
        shell.stdout.readline()
        found = guardian.descendants(shell.pid)
        assert len(found) == 2
        assert shell.pid not in found
        assert {shell.pid} | found <= guardian.descendants(os.getpid())
        for process in {shell.pid} | found:
            os.kill(process, signal.SIGKILL)
