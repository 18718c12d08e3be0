"""Reading the body of a request, with bounds on bytes and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from trainer.serving.limits import Budget, Limits, Refusal

_Result = TypeVar("_Result")

# nginx's code for a client that has closed; nobody is there to read it.
_CLOSED = 499


class Bodies:
    """Reads bodies; all that are in memory share one budget."""

    def __init__(self, limits: Limits) -> None:
        """Starts with none."""
        self._limits = limits
        self._held = Budget(
            limits.max_held_bytes,
            f"Requests of {limits.max_held_bytes:,} bytes are being read or "
            "answered. Try again later; --max_body_mb raises that, too.",
        )

    @property
    def held(self) -> int:
        """Bytes of the bodies in memory."""
        return self._held.used

    @contextlib.asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """Yields the body of a request, which counts until the block ends.

        Raises:
            Refusal: It is too long, too slow, or there are too many.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            self._limits.check_length(int(declared))
        body = bytearray()
        try:
            await self._read(request, body)
            yield bytes(body)
        finally:
            self._held.give(len(body))

    async def _read(self, request: Request, body: bytearray) -> None:
        async def read() -> None:
            async for chunk in request.stream():
                self._limits.check_length(len(body) + len(chunk))
                self._held.take(len(chunk))
                body.extend(chunk)

        seconds = self._limits.read_seconds
        try:
            await asyncio.wait_for(read(), seconds)
        except asyncio.TimeoutError:
            raise Refusal(
                408,
                f"The body did not arrive within {seconds:g} seconds. Send "
                "less, or start the server with a longer --read_timeout.",
            ) from None
        except ClientDisconnect:
            raise Refusal(_CLOSED, "The client has gone.") from None


async def form_picture(request: Request, body: bytes) -> bytes:
    """Returns the one file of a multipart body that has been read.

    Raises:
        Refusal: There is none, or more than one.
    """

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    again = Request(request.scope, replay)
    async with again.form(max_files=2, max_fields=16) as form:
        files = [value for value in form.values() if not isinstance(value, str)]
        if len(files) != 1:
            raise Refusal(
                400,
                f"The form has {len(files)} files, must have one, such as "
                "curl -F image=@cat.jpg sends.",
            )
        return await files[0].read()


async def within(
    request: Request, seconds: float, work: Coroutine[Any, Any, _Result]
) -> _Result:
    """Returns what `work` does, as long as the client waits for it.

    Args:
        request: Its body has been read.
        seconds: For `work`, which is cancelled afterwards.
        work: Answers the request.

    Raises:
        Refusal: It took too long, or the client has gone.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        done, _ = await asyncio.wait(
            (task, gone),
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if task in done:
            return task.result()
        if gone in done:
            raise Refusal(_CLOSED, "The client has gone.")
        raise Refusal(
            504,
            f"No answer within {seconds:g} seconds. Send fewer pictures in a "
            "request, or start the server with a longer --timeout.",
            1,
        )
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
