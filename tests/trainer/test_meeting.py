"""How workers wait for each other before TensorFlow does."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import pytest

from tests.conftest import REPO
from trainer import cluster, errors, meeting


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def meet(addresses: list[str], indices: list[int], timeout: float) -> list[str]:
    """What each of some workers is told."""
    told = {}

    def worker(index: int) -> None:
        try:
            meeting.wait_for_all(
                cluster.Cluster(tuple(addresses), index), timeout
            )
            told[index] = ""
        except errors.EngineError as error:
            told[index] = str(error)

    threads = [threading.Thread(target=worker, args=[i]) for i in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout + 40)
    return [told[i] for i in indices]


def local(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_all_come(order: list[int]) -> None:
    assert meet(local(3), order, 20.0) == ["", "", ""]


def test_everyone_learns_who_is_absent() -> None:
    addresses = local(4)
    told = meet(addresses, [0, 2], 1.0)
    for message in told:
        assert f"worker 1 ({addresses[1]}), worker 3" in message
        assert "worker 2" not in message
        assert "within 1 s (make_engine.startup_timeout)" in message


def test_worker_0_is_absent() -> None:
    addresses = local(2)
    (message,) = meet(addresses, [1], 1.0)
    assert f"worker 0 ({addresses[0]}) did not come within 1 s" in message


def test_worker_0_came_and_ended() -> None:
    """Not the same as one that never came: its log says why."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def accept_and_end() -> None:
            with server.accept()[0] as peer:
                peer.recv(1024)
            server.close()

        chief = threading.Thread(target=accept_and_end)
        chief.start()
        addresses = [f"127.0.0.1:{port}", "127.0.0.1:1"]
        (message,) = meet(addresses, [1], 1.0)
        chief.join()
    assert f"worker 0 ({addresses[0]}) came, but ended" in message


def test_who_has_greeted_waits_for_the_verdict(monkeypatch) -> None:
    """Worker 0's clock starts when worker 1's has nearly run out."""
    times = iter([0.0, 19.5])
    monkeypatch.setattr(
        meeting, "time", types.SimpleNamespace(monotonic=lambda: next(times))
    )
    monkeypatch.setattr(meeting, "_REMIND_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def be_worker_0() -> None:
            with server.accept()[0] as peer:
                peer.recv(1024)
                time.sleep(1.0)  # twice what worker 1 had left
                peer.sendall(b'{"absent": "worker 2 (x:1)"}\n')

        chief = threading.Thread(target=be_worker_0)
        chief.start()
        port = server.getsockname()[1]
        expected = (f"127.0.0.1:{port}", "127.0.0.1:1", "x:1")
        with pytest.raises(errors.EngineError, match=r"^worker 2 \(x:1\) did"):
            meeting.wait_for_all(cluster.Cluster(expected, 1), 20.0)
        chief.join()


def greet(address: str, greeting: bytes) -> None:
    """Calls on a worker 0 that is about to listen, and hangs up."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 120.0
    while True:
        try:
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(greeting)
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_has_hung_up_is_absent() -> None:
    addresses = local(3)
    told: list[str] = []
    chief = threading.Thread(
        target=lambda: told.extend(meet(addresses, [0], 2.0))
    )
    chief.start()
    greet(addresses[0], b'{"index": 1}')
    chief.join()
    assert f"worker 1 ({addresses[1]}), worker 2 ({addresses[2]})" in told[0]


def test_strangers_do_not_count() -> None:
    addresses = local(2)
    told: list[str] = []
    chief = threading.Thread(
        target=lambda: told.extend(meet(addresses, [0], 2.0))
    )
    chief.start()
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", b'{"index": 7}', b""):
        greet(addresses[0], greeting)
    chief.join()
    assert "worker 1" in told[0]


def test_two_processes_with_the_same_index() -> None:
    """The second is sent away; the first is still waited for."""
    addresses = local(3)
    host, _, port = addresses[0].rpartition(":")
    told: list[str] = []
    chief = threading.Thread(
        target=lambda: told.extend(meet(addresses, [0], 60.0))
    )
    chief.start()
    greet(addresses[0], b"")  # it listens
    with socket.create_connection((host, int(port))) as first:
        first.sendall(b'{"index": 1}')
        second = cluster.Cluster(tuple(addresses), 1)
        message = f"say that they are worker 1 .{addresses[1]}.*LOCKSTEP_INDEX"
        with pytest.raises(errors.ConfigError, match=message):
            meeting.wait_for_all(second, 60.0)
        assert meet(addresses, [2], 60.0) == [""]
        chief.join()
        with first.makefile() as answers:
            assert json.loads(answers.readline()) == {"absent": ""}
    assert told == [""]


def test_the_port_is_taken() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        (message,) = meet([f"127.0.0.1:{port}", "x:1"], [0], 1.0)
    assert f"cannot listen on port {port}" in message


def trainer(addresses: list[str], *bindings: str) -> subprocess.Popen[str]:
    """Worker 0 of a training whose others have not been started."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.main"),
            *("--gin_file=tests/tiny.gin", "--dry_run"),
            '--gin_param=make_engine.name="multi_worker"',
            *(f"--gin_param={binding}" for binding in bindings),
        ],
        env={
            "PATH": "/usr/bin:/bin",
            "LOCKSTEP_WORKERS": ",".join(addresses),
            "LOCKSTEP_INDEX": "0",
        },
        cwd=REPO,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_trainer_ends_with_one_message() -> None:
    """Through the binary: no traceback, and the name of the one missing."""
    addresses = local(2)
    process = trainer(addresses, "make_engine.startup_timeout=0.5")
    log = process.communicate()[1]
    assert process.returncode == 1
    assert f"error: worker 1 ({addresses[1]}) did not come" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    addresses = local(2)
    process = trainer(addresses, "make_engine.startup_timeout=600.0")
    greet(addresses[0], b"")  # it waits
    process.send_signal(number)
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 75
    assert f"{number.name}: stopped. Nothing has been trained" in log
    assert "Traceback" not in log
