"""Slow, rude and greedy clients, and a model that does not come to an end."""

import concurrent.futures
import contextlib
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from input import errors
from tests.trainer import exported
from tests.trainer.served import Client, served, wait_until
from trainer.serving import limits, pictures, servable

RED = exported.picture("red")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("models") / "colours"
    folder.mkdir()
    exported.export(folder / "1")
    return folder


@pytest.fixture
def gate(monkeypatch) -> Iterator[threading.Event]:
    """Where it is cleared, the model computes nothing."""
    opened = threading.Event()
    opened.set()
    run = servable.Servable.run

    def wait(self, *arguments):
        assert opened.wait(30)
        return run(self, *arguments)

    monkeypatch.setattr(servable.Servable, "run", wait)
    yield opened
    opened.set()


def connect(client: Client) -> socket.socket:
    host, port = client.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


@contextlib.contextmanager
def asking(client: Client, count: int) -> Iterator[list]:
    """Several clients that each send a picture and wait."""

    def ask() -> requests.Response:
        return requests.post(f"{client.address}/classify", data=RED, timeout=30)

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        yield [threads.submit(ask) for _ in range(count)]


def test_a_full_queue_says_when_to_come_back(model, gate) -> None:
    with served(model, max_queue=3, max_pictures=3) as client:
        gate.clear()
        with asking(client, 3) as waiting:
            wait_until(lambda: client.metric("lockstep_queue_pictures") == 3)
            answer = client.predict(RED)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert "queue of 3 pictures is full" in answer.json()["error"]
            # Others than pictures are answered.
            assert client.get("/healthz").status_code == 200
            gate.set()
            assert [w.result().status_code for w in waiting] == [200] * 3
        assert client.predict(RED, RED, RED).status_code == 200


def test_a_queue_shorter_than_a_request_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="--max_queue=3 must be at"):
        limits.Limits(max_queue=3, max_pictures=4)


def test_an_answer_that_takes_too_long(model, gate) -> None:
    with served(model, timeout_seconds=0.3) as client:
        gate.clear()
        answer = client.predict(RED)
        assert answer.status_code == 504
        assert "No answer within 0.3 seconds" in answer.json()["error"]
        gate.set()
        assert client.predict(RED).status_code == 200
        assert client.metric("lockstep_queue_pictures") == 0


def test_a_client_that_has_gone_is_not_computed(model, gate) -> None:
    with served(model) as client:
        gate.clear()
        with asking(client, 1) as first:
            wait_until(lambda: client.metric("lockstep_queue_pictures") == 1)
            with connect(client) as gone:
                head = f"Content-Length: {len(RED)}\r\n\r\n".encode()
                gone.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\n" + head)
                gone.sendall(RED)
                wait_until(
                    lambda: client.metric("lockstep_queue_pictures") == 2
                )
            wait_until(lambda: client.metric("lockstep_queue_pictures") == 1)
            batches = client.metric("lockstep_batch_pictures_count")
            gate.set()
            assert first[0].result().status_code == 200
        assert client.predict(RED).status_code == 200
        assert client.metric("lockstep_batch_pictures_count") == batches + 2
        assert client.metric("lockstep_held_bytes") == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /heal",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nG",
        b"POST /nix HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a second head", "a body in vain"],
)
def test_who_does_not_finish_a_request_is_cut_off(model, sent: bytes) -> None:
    with served(model, read_seconds=0.3) as client, connect(client) as slow:
        slow.sendall(sent)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while slow.recv(1 << 16):
                pass
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "first",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /nix HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
    ],
    ids=["the head of a second request", "a body in vain"],
)
def test_who_trickles_after_an_answer_is_cut_off(model, first: bytes) -> None:
    """Uvicorn's own timer ends with the first byte."""
    with served(model, read_seconds=0.5) as client, connect(client) as slow:
        slow.sendall(first)
        assert b"HTTP/1.1" in slow.recv(1 << 16)
        until = time.monotonic() + 10
        with pytest.raises(ConnectionError):
            while time.monotonic() < until:
                slow.sendall(b"x")
                time.sleep(0.1)


def test_a_body_that_trickles_is_cut_off(model) -> None:
    with served(model, read_seconds=0.5) as client, connect(client) as slow:
        slow.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(8):
                slow.sendall(b"x")
                time.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            assert b"408" in slow.recv(1 << 16)
        wait_until(lambda: client.metric("lockstep_held_bytes") == 0)
        assert client.predict(RED).status_code == 200


def test_a_client_that_leaves_amid_its_body(model) -> None:
    with served(model) as client:
        with connect(client) as gone:
            gone.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\n"
                b"Content-Length: 999\r\n\r\nabc"
            )
            wait_until(lambda: client.metric("lockstep_held_bytes") == 3)
        wait_until(lambda: client.metric("lockstep_held_bytes") == 0)
        assert client.predict(RED).status_code == 200


def test_bodies_share_the_memory(model) -> None:
    """Of the largest size, eight may be read at a time."""
    size = 10_000
    head = f"Content-Length: {size}\r\n\r\n".encode()
    with (
        served(model, max_body_bytes=size) as client,
        contextlib.ExitStack() as held,
    ):
        for _ in range(8):
            slow = held.enter_context(connect(client))
            slow.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\n" + head)
            slow.sendall(bytes(size - 1))
        wait_until(
            lambda: client.metric("lockstep_held_bytes") == 8 * (size - 1)
        )
        answer = client.post("/classify", data=RED)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "80,000 bytes are being read" in answer.json()["error"]


def test_more_connections_than_allowed(model) -> None:
    """Whoever looks after the process is answered nevertheless."""
    with served(model, max_connections=3) as client:
        assert client.get("/readyz").status_code == 200
        with connect(client), connect(client):

            def ask(path: str) -> requests.Response:
                return requests.get(client.address + path, timeout=20)

            wait_until(lambda: ask("/readyz").status_code == 503)
            answer = ask("/readyz")
            assert "More than 3 connections" in answer.json()["error"]
            assert answer.headers["retry-after"] == "1"
            assert ask("/healthz").status_code == 200
        wait_until(lambda: client.get("/readyz").status_code == 200)
        counted = client.get("/metrics").text
        assert 'lockstep_requests_total{code="503",kind="health"}' in counted


def test_an_error_of_ours_is_told_and_survived(model, monkeypatch) -> None:
    def fail(self, *arguments):
        raise RuntimeError("secret detail")

    with served(model) as client:
        with monkeypatch.context() as patched:
            patched.setattr(servable.Servable, "run", fail)
            answer = client.predict(RED)
        assert answer.status_code == 500
        assert answer.json() == {
            "error": "Internal error: RuntimeError. The log of the server has "
            "more."
        }
        with monkeypatch.context() as patched:
            patched.setattr(pictures.Reader, "__call__", fail)
            assert client.predict(RED).status_code == 500
        assert client.predict(RED).status_code == 200
        assert client.metric("lockstep_queue_pictures") == 0


def test_an_answer_is_sent_at_once(model) -> None:
    """Nagle's algorithm would hold the second half back for 40 ms."""
    seconds = []
    with served(model) as client:
        for _ in range(60):
            began = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            seconds.append(time.perf_counter() - began)
    assert sorted(seconds)[30] < 0.03
