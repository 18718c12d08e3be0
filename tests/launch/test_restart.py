"""launch/restart.sh with commands that end and signals that come."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, SECONDS, Bench

RESTART = [REPO / "launch" / "restart.sh", "--pause=0"]
# Ends with the codes in the file `codes`, one after the other.
CODES = """
path = "codes"
first, *rest = open(path).read().split()
open(path, "w").write(" ".join(rest))
sys.exit(int(first))
"""


@pytest.mark.parametrize(
    ("codes", "flags", "runs", "says"),
    [
        ("0", [], 1, "ended with code 0"),
        ("1 0", [], 1, "ended with code 1"),
        ("2 0", [], 1, "ended with code 2"),
        ("75 0", [], 2, "restart 1 follows"),
        ("75 75 75 3", [], 4, "ended with code 3"),
        ("75 75 75", ["--max_restarts=2"], 3, "after --max_restarts=2"),
        ("75 0", ["--max_restarts=0"], 1, "after --max_restarts=0"),
    ],
)
def test_only_75_leads_to_a_restart(
    bench: Bench, codes: str, flags: list[str], runs: int, says: str
) -> None:
    (bench.folder / "codes").write_text(codes)
    bench.fake("train", CODES)
    answer = bench.run(*RESTART, *flags, "--", "train", *AWKWARD)
    calls = bench.calls("train")
    assert [call.arguments for call in calls] == runs * [list(AWKWARD)]
    assert answer.returncode == int(codes.split()[runs - 1])
    assert says in answer.stderr


def test_print_runs_nothing(bench: Bench) -> None:
    answer = bench.run(*RESTART, "--print", "--", "train", "a b")
    assert answer.stdout == "train 'a b'\n"


TRAIN = """
import pathlib, signal, sys, time
def stop(number, frame):
    pathlib.Path("got").write_text(signal.Signals(number).name)
    time.sleep(0.5)
    sys.exit(75)
for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), stop)
with open("started", "a") as started:
    started.write("once ")
while True:
    time.sleep(0.05)
"""


def wait_for(path: pathlib.Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_is_passed_on_and_ends_it(tmp_path, name: str) -> None:
    # Where the tests run under nohup, bash could not listen to SIGHUP.
    heard = ["env", f"--default-signal={name.removeprefix('SIG')}"]
    process = subprocess.Popen(
        [*heard, *RESTART, "--", sys.executable, "-c", TRAIN], cwd=tmp_path
    )
    wait_for(tmp_path / "started")
    process.send_signal(getattr(signal, name))
    # The code of the command, which came half a second after the signal.
    assert process.wait(SECONDS) == 75
    assert (tmp_path / "got").read_text() == name
    assert (tmp_path / "started").read_text() == "once "


def test_two_signals_in_a_row(tmp_path: pathlib.Path) -> None:
    process = subprocess.Popen(
        [*RESTART, "--", sys.executable, "-c", TRAIN], cwd=tmp_path
    )
    wait_for(tmp_path / "started")
    process.send_signal(signal.SIGUSR1)
    wait_for(tmp_path / "got")
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 75


def test_a_killed_command(bench: Bench) -> None:
    answer = bench.run(*RESTART, "--", "bash", "-c", "kill -KILL $$")
    assert answer.returncode == 128 + signal.SIGKILL
