"""A server in a thread of the test, and what tests ask it."""

import asyncio
import base64
import contextlib
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import requests

from trainer.serving import limits, running

FAST = {"batch_sizes": (1, 4), "poll_seconds": 0.05}


class Client:
    """Asks one server."""

    def __init__(self, server: running.Server) -> None:
        self.server = server
        self.address = server.address
        self._session = requests.Session()

    def get(self, path: str) -> requests.Response:
        return self._session.get(self.address + path, timeout=20)

    def post(self, path: str, **content: object) -> requests.Response:
        return self._session.post(self.address + path, timeout=20, **content)

    def predict(self, *pictures: bytes, path: str = "") -> requests.Response:
        rows = [{"b64": base64.b64encode(p).decode()} for p in pictures]
        path = path or "/v1/models/colours:predict"
        return self.post(path, json={"instances": rows})

    def metric(self, name: str) -> float:
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)


@contextlib.contextmanager
def served(model: pathlib.Path, **settings: object) -> Iterator[Client]:
    """Runs a server while the block lasts; it must end by itself then."""
    bounds = {
        key: settings.pop(key)
        for key in list(settings)
        if key in limits.Limits.__dataclass_fields__
    }
    server = running.Server(
        running.Settings(
            str(model),
            port=0,
            limits=limits.Limits(**bounds),
            **(FAST | settings),
        )
    )
    ready = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(server.run(lambda text: ready.set()))
    )
    thread.start()
    try:
        assert ready.wait(30)
        yield Client(server)
    finally:
        server.stop()
        thread.join(30)
    assert not thread.is_alive()


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
