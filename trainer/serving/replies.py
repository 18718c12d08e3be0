"""Answers as JSON, and errors as answers."""

from __future__ import annotations

import json as json_lib
from collections.abc import Awaitable, Callable
from typing import Any

from absl import logging
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trainer.serving.limits import Refusal

Handler = Callable[[Request], Awaitable[Response]]


def json(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Returns an answer that says `content`."""
    return encoded(json_lib.dumps(content).encode(), status, headers)


def encoded(
    content: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Returns an answer whose body is JSON already."""
    return Response(content, status, headers, "application/json")


def refused(request: Request, error: Exception) -> Response:
    """Answers with what a Refusal says."""
    if not isinstance(error, Refusal):
        raise error
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return json({"error": str(error)}, error.status, headers)


def no_such_route(request: Request, error: Exception) -> Response:
    """Answers what is no request that there is, or no form that can be read."""
    if not isinstance(error, HTTPException):
        raise error
    return json(
        {
            "error": f"Malformed request: {request.method} "
            f"{request.url.path}: {error.detail}. There are POST "
            "/v1/models/NAME:predict, GET /v1/models/NAME, POST /classify and "
            "GET /, /healthz, /readyz and /metrics."
        },
        # As TensorFlow Serving has it for whatever is below its path.
        400 if request.url.path.startswith("/v1/") else error.status_code,
        dict(error.headers or {}),
    )


def guarded(answer: Handler) -> Handler:
    """Answers with 500 where something of ours fails.

    Starlette would raise it again, and uvicorn drop the connection.
    """

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except (Refusal, HTTPException):
            raise
        except Exception as error:
            logging.exception("%s %s", request.method, request.url.path)
            return json(
                {
                    "error": f"Internal error: {type(error).__name__}. The log "
                    "of the server has more."
                },
                500,
            )

    return answered
