"""launch.task: variables, signals, exit codes; the server of Horovod."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from launch import interface, task
from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, SECONDS, Bench, clean_environment
from tests.launch.test_placement import OUTRIGHT, POD, SLURM

TASK = [sys.executable, "-m", "launch.task"]
# Writes down what it was given.
SHOW = """
import json, os, sys
keys = [k for k in os.environ if k.startswith(("LOCKSTEP_", "HOROVOD_"))]
keys += [k for k in ("CUDA_VISIBLE_DEVICES", "TF_CONFIG") if k in os.environ]
print(json.dumps([sys.argv[1:], {k: os.environ[k] for k in keys}]))
"""


def run(*arguments: str, **variables: str):
    return subprocess.run(
        [*TASK, *arguments],
        capture_output=True,
        text=True,
        cwd=REPO,
        env=clean_environment() | variables,
        timeout=SECONDS,
    )


def shown(*flags: str, **variables: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and variables of the command that a task becomes."""
    command = [sys.executable, "-c", SHOW, *AWKWARD]
    answer = run(*flags, "--", *command, **variables)
    assert answer.returncode == 0, answer.stderr
    arguments, found = json.loads(answer.stdout)
    return arguments, found


@pytest.mark.parametrize(
    ("variables", "port", "workers", "index"),
    [
        (SLURM, 0, "gpu1:12448,gpu1:12449,gpu2:12448", "2"),
        (SLURM, 5000, "gpu1:5000,gpu1:5001,gpu2:5000", "2"),
        (POD, 80, "run-0.run:80,run-1.run:80,run-2.run:80", "1"),
        (OUTRIGHT, 0, "a:5000,a:5001,b:5000", "1"),
    ],
)
def test_multi_worker(variables, port: int, workers: str, index: str) -> None:
    arguments, found = shown(
        "--engine=multi_worker",
        f"--port={port}",
        **variables,
        # Of an outer job.
        TF_CONFIG="{}",
        HOROVOD_RANK="7",
    )
    assert arguments == list(AWKWARD)
    found.pop("LOCKSTEP_HOSTS", None)
    assert found == {"LOCKSTEP_WORKERS": workers, "LOCKSTEP_INDEX": index}


def test_horovod_on_two_hosts() -> None:
    flags = ["--engine=horovod", "--interface=ib0", "--port=9000", "--print"]
    printed = run(*flags, "--", "train", **SLURM).stdout.splitlines()
    assert printed.pop() == "train"
    lines = [line.removeprefix("export ").split("=", 1) for line in printed]
    assert dict(lines) == {
        "HOROVOD_HOSTNAME": "gpu2",
        "HOROVOD_RANK": "2",
        "HOROVOD_SIZE": "3",
        "HOROVOD_LOCAL_RANK": "0",
        "HOROVOD_LOCAL_SIZE": "1",
        "HOROVOD_CROSS_RANK": "1",
        "HOROVOD_CROSS_SIZE": "2",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "gpu1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": "9000",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": "ib0",
        "NCCL_SOCKET_IFNAME": "ib0",
    }


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.1.1", "leads to 127.0.1.1, which other hosts cannot reach"),
        ("::1", "leads to ::1"),
        (None, "has no address"),
        ("10.77.0.1", None),
        ("fe80::1%eth0", None),
    ],
)
def test_the_own_name_of_a_host(monkeypatch, address, message) -> None:
    def resolve(name: str, *rest: object, **more: object) -> list[tuple]:
        if address is None:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0))]

    monkeypatch.setattr(socket, "gethostname", lambda: "gpu1")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    if message is None:
        interface.check_own_name()
        return
    with pytest.raises(ValueError, match=f"'gpu1' {message}.*/etc/hosts"):
        interface.check_own_name()


def test_horovod_on_one_host_stays_on_loopback() -> None:
    workers = {"LOCKSTEP_WORKERS": "a:1,a:2", "LOCKSTEP_INDEX": "1"}
    _, found = shown("--engine=horovod", **workers)
    assert found["HOROVOD_GLOO_IFACE"] == "lo"
    assert found["HOROVOD_GLOO_RENDEZVOUS_ADDR"] == "127.0.0.1"
    assert found["HOROVOD_GLOO_RENDEZVOUS_PORT"] == "1"


def test_print_can_be_run_by_a_shell(bench: Bench) -> None:
    bench.fake("train")
    answer = run(
        *("--engine=multi_worker", "--print", "--gpus_per_task=1"),
        *("--", "train", *AWKWARD),
        **SLURM,
    )
    assert answer.returncode == 0
    assert "export LOCKSTEP_INDEX=2\n" in answer.stdout
    after = bench.run("bash", "-c", f"{answer.stdout}\nenv")
    assert bench.calls("train")[0].arguments == list(AWKWARD)
    assert "LOCKSTEP_WORKERS=gpu1:12448,gpu1:12449,gpu2:12448" in after.stdout
    assert "CUDA_VISIBLE_DEVICES=0\n" in after.stdout


@pytest.mark.parametrize(
    ("visible", "local_rank", "number", "expected"),
    [
        (None, 0, 1, "0"),
        (None, 3, 1, "3"),
        (None, 1, 2, "2,3"),
        ("4,5,6,7", 1, 1, "5"),
        ("GPU-a,GPU-b", 1, 1, "GPU-b"),
        ("4,5,6,7", 1, 2, "6,7"),
    ],
)
def test_devices(visible, local_rank: int, number: int, expected: str) -> None:
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert task.devices(variables, local_rank, number) == expected


def test_too_few_devices() -> None:
    with pytest.raises(ValueError, match="needs 2 GPUs for 2 processes"):
        task.devices({"CUDA_VISIBLE_DEVICES": "0"}, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--", "true"], "--engine is missing. Write --engine=multi_worker"),
        (["--engine=mpi", "--", "true"], "multi_worker"),
        (["--engine=horovod"], "there is no command. Write it after"),
        (["--engine=horovod", "--", "no-such"], "'no-such' is no program"),
        (["--engine=horovod", "--port=x", "--", "true"], "--port"),
        (["--engine=horovod", "--colour", "--", "true"], "colour"),
    ],
)
def test_wrong_flags(arguments: list[str], message: str) -> None:
    answer = run(*arguments, **OUTRIGHT)
    assert answer.returncode == 2
    assert answer.stderr.startswith("launch.task: ")
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_no_scheduler() -> None:
    answer = run("--engine=horovod", "--", "true")
    assert answer.returncode == 2
    assert "Nothing says which process of the job this is" in answer.stderr


def test_help() -> None:
    answer = run("--help")
    assert answer.returncode == 0
    for name in ("engine", "port", "interface", "gpus_per_task", "print"):
        assert name in answer.stdout


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_the_exit_code_is_that_of_the_command(code: int) -> None:
    command = ["sh", "-c", f"exit {code}"]
    answer = run("--engine=multi_worker", "--", *command, **POD)
    assert answer.returncode == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP"])
def test_signals_reach_the_command(tmp_path: pathlib.Path, name: str) -> None:
    code = f"""
import signal, sys, time
signal.signal(signal.{name}, lambda number, frame: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [*TASK, "--engine=multi_worker", "--", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env=clean_environment() | POD,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        assert process.wait(SECONDS) == 75


HEADER = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["eth0 00000000 0102A8C0 0003 0 0 0 00000000 0 0 0"], "eth0"),
        (
            [
                "wlan0 00000000 0102A8C0 0003 0 0 600 00000000 0 0 0",
                "eth1 00000000 0102A8C0 0003 0 0 100 00000000 0 0 0",
                "ib0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0",
            ],
            "eth1",
        ),
    ],
)
def test_interface(rows: list[str], expected: str) -> None:
    routes = "\n".join([HEADER, *rows])
    assert interface.of_default_route(routes) == expected


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["ib0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0"],
        ["eth0 00000000 0102A8C0 0002 0 0 0 00000000 0 0 0"],
        # Half of all addresses, as some tunnels have it.
        ["tun0 00000000 0102A8C0 0003 0 0 0 00000080 0 0 0"],
    ],
)
def test_no_interface(rows: list[str]) -> None:
    with pytest.raises(ValueError, match="--interface=eth0"):
        interface.of_default_route("\n".join([HEADER, *rows]))


# A context as launch.rendezvous has it, but without Horovod.
COMPANION = """
import contextlib, os, signal, socket, sys, time
from launch import companion

@contextlib.contextmanager
def serve(port):
    with socket.create_server(("127.0.0.1", port)):
        yield

try:
    companion.start(serve(int(sys.argv[1])))
except RuntimeError as error:
    sys.exit(f"problem: {error}")
print("ready", flush=True)
os.execvp("sleep", ["sleep", "60"])
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_companion_ends_with_the_command(number: int) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", COMPANION, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        assert listens(port)
        # Slurm sends SIGUSR1 to all processes of a task.
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}")
        for child in (children / "children").read_text().split():
            os.kill(int(child), signal.SIGUSR1)
        assert listens(port)
        process.send_signal(number)
        assert process.wait(SECONDS) == -number
        deadline = time.monotonic() + SECONDS
        while listens(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_companion_that_cannot_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = subprocess.run(
            [sys.executable, "-c", COMPANION, str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            cwd=REPO,
            timeout=SECONDS,
        )
    assert answer.returncode == 1
    assert "problem: [Errno 98] Address already in use" in answer.stderr
