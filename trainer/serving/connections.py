"""Serving connections: slow clients are cut off, a signal ends it in peace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http import h11_impl

from input import errors
from trainer.serving import replies

_BACKLOG = 512


class _Protocol(h11_impl.H11Protocol):
    """Uvicorn's, with a time limit for the head of a request.

    Uvicorn ends its own timer at the first byte of the next request, and has
    none before the first one: whoever sends a byte a minute stays for ever.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # What was sent ahead may have become the next request already.
        if self.cycle.response_complete:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(
            self.timeout_keep_alive, self.transport.abort
        )

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Bounded:
    """An application that refuses requests while there are too many clients.

    But for /healthz: an orchestrator would end a server that is only busy.
    Uvicorn's own limit knows no such exception, and answers in plain text.
    """

    def __init__(
        self, application: ASGIApp, limit: int, count: Callable[[], int]
    ) -> None:
        """Wraps an application.

        Args:
            application: Answers.
            limit: Connections at a time.
            count: How many there are.
        """
        self._application = application
        self._limit = limit
        self._count = count

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Passes a request on, or refuses it."""
        application = self._application
        if self._count() > self._limit and scope.get("path") != "/healthz":
            application = replies.json(
                {
                    "error": f"More than {self._limit:,} connections are "
                    "open. Try again later, or start the server with a "
                    "higher --max_connections."
                },
                503,
                {"retry-after": "1", "connection": "close"},
            )
        await application(scope, receive, send)


def listen(host: str, port: int) -> socket.socket:
    """Opens a port.

    Args:
        host: A name or an address, of IPv4 or IPv6.
        port: 0 for one that is free.

    Raises:
        errors.UsageError: It is taken, or not ours to take.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # Not socket.create_server: asyncio looks for the protocol before it
        # switches Nagle's algorithm off, which would cost 40 ms an answer.
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(place)
            opened.listen(_BACKLOG)
        except BaseException:
            opened.close()
            raise
        return opened
    except OSError as error:
        raise errors.UsageError(
            f"--host={host} --port={port} cannot be listened at: "
            f"{error.strerror or error}. Give another port, 0 for any that is "
            "free."
        ) from error


def address(opened: socket.socket) -> str:
    """Returns the URL of a port that has been opened."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(
    application: ASGIApp,
    *,
    read_seconds: float,
    grace_seconds: float,
) -> uvicorn.Server:
    """Returns what serves an application until SIGTERM or Ctrl-C.

    Then no connection is accepted any more, and `serve` returns when the
    requests that there are have been answered.

    Args:
        application: Answers.
        read_seconds: For the head of a request, and between two requests.
        grace_seconds: For the requests that are there at the end.
    """
    config = uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=read_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=grace_seconds,  # type: ignore[arg-type]
    )
    return uvicorn.Server(config)
