"""Horovod's server: it keeps what is put, and ends when it should."""

import socket
import sys
import urllib.error
import urllib.request

import pytest

from launch import rendezvous


def call(port: int, path: str, data: bytes | None = None, method="GET"):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, method=method
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read()


def test_it_serves_and_stops_and_serves_again() -> None:
    first = 0
    for _ in range(2):
        with rendezvous.serve([("a", 2)], "127.0.0.1", first) as port:
            assert first in (0, port)
            first = port
            with pytest.raises(urllib.error.HTTPError, match="404"):
                call(port, "/global/0")
            call(port, "/global/0", b"here", "PUT")
            assert call(port, "/global/0") == b"here"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)


def test_it_knows_how_many_processes_belong_together() -> None:
    with rendezvous.serve([("a", 2), ("b", 1)], "127.0.0.1") as port:
        for scope, size in (("global", 3), ("local_a", 2), ("cross_0", 2)):
            call(port, f"/{scope}/x", b"1", "PUT")
            for rank in range(size):
                assert call(port, f"/{scope}/x") == b"1"
                call(port, f"/{scope}/{rank}", method="DELETE")
            # All have what they need.
            with pytest.raises(urllib.error.HTTPError, match="404"):
                call(port, f"/{scope}/x")


def test_a_port_that_is_taken() -> None:
    with rendezvous.serve([("a", 1)], "127.0.0.1") as port:
        with pytest.raises(OSError, match="in use"):
            with rendezvous.serve([("a", 1)], "127.0.0.1", port):
                pass


def test_without_horovod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "horovod"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "horovod", None)
    with pytest.raises(
        rendezvous.MissingHorovodError,
        match="cannot be imported.*python -m launch.install_horovod",
    ):
        rendezvous.check_installed()
