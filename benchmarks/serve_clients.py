"""Clients of a server, each a thread with a connection of its own."""

import base64
import collections
import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

# Path, body.
Request = tuple[str, bytes]


class Server:
    """A server in a process of its own.

    Attributes:
        host: Of its address.
        port: Of its address.
        name: Of its model.
    """

    def __init__(self, model: str, *flags: str) -> None:
        """Starts it and waits until it serves."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer.serve", f"--model={model}"]
            + ["--port=0", *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._read_line()
        self.name = line.split(",")[0]
        address = urllib.parse.urlparse(line.split()[-1])
        self.host, self.port = str(address.hostname), address.port or 0

    def _read_line(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the server has no standard output")
        line = self._process.stdout.readline()
        if "is served at" not in line:
            raise RuntimeError(f"the server did not start: {line!r}")
        return line

    def connection(self) -> http.client.HTTPConnection:
        """Returns a new connection."""
        return http.client.HTTPConnection(self.host, self.port, timeout=120)

    def metrics(self) -> dict[str, float]:
        """Returns what the server counts, by name with labels."""
        connection = self.connection()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        pairs = [
            line.rsplit(" ", 1)
            for line in text.splitlines()
            if not line.startswith("#")
        ]
        return {name: float(value) for name, value in pairs}

    def predict(self, picture: bytes) -> Request:
        """Returns a request for one picture."""
        row = {"b64": base64.b64encode(picture).decode()}
        body = json.dumps({"instances": [row]}).encode()
        return f"/v1/models/{self.name}:predict", body

    def stop(self) -> int:
        """Ends it as an operator would; returns its exit code."""
        self._process.terminate()
        return self._process.wait(120)


@contextmanager
def running(model: str, *flags: str) -> Iterator[Server]:
    """Runs a server while the block lasts."""
    server = Server(model, *flags)
    try:
        yield server
    finally:
        server.stop()


def ask(
    server: Server, requests: Sequence[Request], clients: int
) -> Sequence[float]:
    """Sends requests, each client its part, one after the other.

    Returns:
        The seconds of each request.

    Raises:
        RuntimeError: One was not answered with 200.
    """
    seconds: list[float] = []
    problems: list[str] = []

    def client(mine: Sequence[Request]) -> None:
        connection = server.connection()
        for path, body in mine:
            began = time.perf_counter()
            connection.request("POST", path, body)
            answer = connection.getresponse()
            content = answer.read()
            seconds.append(time.perf_counter() - began)
            if answer.status != 200:
                problems.append(f"{answer.status}: {content[:200]!r}")
        connection.close()

    _together(
        [
            lambda mine=requests[i::clients]: client(mine)  # type: ignore[misc]
            for i in range(clients)
        ]
    )
    if problems:
        raise RuntimeError(problems[0])
    return seconds


def soak(
    server: Server,
    kinds: Mapping[str, Request],
    clients: int,
    seconds: float,
) -> collections.Counter[tuple[str, int]]:
    """Sends requests of all kinds in any order for some time.

    Now and then a client leaves amid its request instead.

    Returns:
        How often which kind of request got which status; 0: no answer, as
        when the client has left.
    """
    counts: collections.Counter[tuple[str, int]] = collections.Counter()
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < until:
            kind = rng.choice([*kinds, "client leaves"])
            if kind == "client leaves":
                status = _leave(server, kinds[next(iter(kinds))])
            else:
                status = _status(server, kinds[kind])
            with lock:
                counts[kind, status] += 1

    _together([lambda i=i: client(i) for i in range(clients)])  # type: ignore[misc]
    return counts


def _status(server: Server, request: Request) -> int:
    connection = server.connection()
    try:
        connection.request("POST", *request)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _leave(server: Server, request: Request) -> int:
    path, body = request
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
    with socket.create_connection((server.host, server.port)) as gone:
        gone.sendall(head.encode() + b"\r\n\r\n" + body[: len(body) // 2])
    return 0


def _together(work: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
