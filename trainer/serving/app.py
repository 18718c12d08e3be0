"""The routes: TensorFlow Serving's REST API, a page, health and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jinja2
import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from trainer.serving import (
    bodies,
    keeper,
    monitoring,
    payload,
    replies,
    servable,
)
from trainer.serving.limits import Refusal
from trainer.serving.service import Service

_ERRORS = {
    keeper.AVAILABLE: "OK",
    keeper.LOADING: "OK",
    keeper.FAILED: "INVALID_ARGUMENT",
}
_MODEL = "/v1/models/{name:str}"
_VERSION = _MODEL + "/versions/{version:str}"
_TOP = 5
# Digits of a number that is worth reading.
_DIGITS = 18
# The page is one file: nothing is fetched but answers of this server.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


class Handlers:
    """Answers requests."""

    def __init__(
        self,
        service: Service,
        kept: keeper.Keeper,
        metrics: monitoring.Metrics,
        page: str,
    ) -> None:
        """Wires what answers.

        Args:
            service: Computes.
            kept: Knows the versions.
            metrics: Counts.
            page: The HTML of `/`.
        """
        self._service = service
        self._keeper = kept
        self._metrics = metrics
        self._page = page
        self._bodies = bodies.Bodies(service.limits)
        metrics.held.set_function(lambda: self._bodies.held)

    async def predict(self, request: Request) -> Response:
        """POST /v1/models/NAME[/versions/V]:predict."""
        active = self._found(request)
        limits = self._service.limits
        # From here on: it must not be retired while the body is read.
        with active.used():
            async with self._bodies.of(request) as body:
                work = self._predicted(active, body)
                return replies.encoded(
                    await bodies.within(request, limits.timeout_seconds, work)
                )

    async def _predicted(self, active: keeper.Active, body: bytes) -> bytes:
        """Returns the body of the answer to a predict request."""
        asked = await self._service.in_worker(
            payload.parse,
            body,
            self._service.limits,
            active.model.info.image_shape,
        )
        answers = await self._service.answer(active, asked.pictures, asked.key)
        return await self._service.in_worker(_rendered, answers, asked.key)

    async def classify(self, request: Request) -> Response:
        """POST /classify: one picture, as the body or as a file of a form."""
        top = _top(request.query_params.get("top", str(_TOP)))
        active = self._keeper.find(self._keeper.place.name)
        with active.used():
            return replies.json(await self._classified(request, active, top))

    async def _classified(
        self, request: Request, active: keeper.Active, top: int
    ) -> dict[str, Any]:
        async with self._bodies.of(request) as body:
            kind = request.headers.get("content-type", "")
            if kind.startswith("multipart/form-data"):
                picture = await bodies.form_picture(request, body)
            else:
                picture = body
            (outputs,) = await bodies.within(
                request,
                self._service.limits.timeout_seconds,
                self._service.answer(active, [picture], ""),
            )
        return {"model": self._keeper.place.name} | _classes(
            active, outputs[servable.PROBABILITIES], top
        )

    async def status(self, request: Request) -> Response:
        """GET /v1/models/NAME[/versions/V]."""
        name = request.path_params["name"]
        number = _version(request)
        if name != self._keeper.place.name:
            raise Refusal(404, f"Could not find any versions of model {name}")
        states = self._keeper.states()
        if number is not None:
            if number not in states:
                raise Refusal(
                    404, f"Could not find version {number} of model {name}"
                )
            states = {number: states[number]}
        return replies.json(
            {
                "model_version_status": [
                    {
                        "version": str(version),
                        "state": state,
                        "status": {
                            "error_code": _ERRORS[state],
                            "error_message": message,
                        },
                    }
                    for version, (state, message) in states.items()
                ]
            }
        )

    async def metadata(self, request: Request) -> Response:
        """GET /v1/models/NAME[/versions/V]/metadata."""
        active = self._found(request)
        return replies.json(
            {
                "model_spec": {
                    "name": self._keeper.place.name,
                    "signature_name": "",
                    "version": str(active.source.number),
                },
                "metadata": {
                    "signature_def": {"signature_def": active.model.signatures}
                },
            }
        )

    async def page(self, request: Request) -> Response:
        """GET /: a page to drop a picture on."""
        return HTMLResponse(self._page, headers=_PAGE_HEADERS)

    async def healthz(self, request: Request) -> Response:
        """GET /healthz: the process answers."""
        return replies.json({"status": "up"})

    async def readyz(self, request: Request) -> Response:
        """GET /readyz: a model is loaded."""
        active = self._keeper.current
        return replies.json(
            {
                "ready": active is not None,
                "model": self._keeper.place.name,
                "version": None if active is None else active.source.number,
                "problems": self._keeper.problems(),
            },
            503 if active is None else 200,
        )

    async def metrics(self, request: Request) -> Response:
        """GET /metrics, for Prometheus."""
        return Response(
            self._metrics.text(),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    def _found(self, request: Request) -> keeper.Active:
        return self._keeper.find(request.path_params["name"], _version(request))


def make(
    service: Service,
    kept: keeper.Keeper,
    metrics: monitoring.Metrics,
    bounded: Callable[[ASGIApp], ASGIApp],
) -> ASGIApp:
    """Returns the application.

    Args:
        service: Computes.
        kept: Knows the versions.
        metrics: Counts, also what is refused by the next.
        bounded: Wraps it in what refuses requests when there are too many.
    """
    page = (
        jinja2.Environment(
            loader=jinja2.PackageLoader("trainer"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        .get_template("serve.html.j2")
        .render(
            name=kept.place.name,
            top=_TOP,
            max_body_bytes=service.limits.max_body_bytes,
        )
    )
    handlers = Handlers(service, kept, metrics, page)
    gets = {
        "/": handlers.page,
        "/healthz": handlers.healthz,
        "/readyz": handlers.readyz,
        "/metrics": handlers.metrics,
    }
    posts = {"/classify": handlers.classify}
    for place in (_VERSION, _MODEL):
        posts[place + ":predict"] = handlers.predict
        gets[place + "/metadata"] = handlers.metadata
        gets[place] = handlers.status
    # `NAME:predict` before NAME, which would match it.
    routes = [
        Route(path, replies.guarded(handler), methods=[method])
        for method, table in (("POST", posts), ("GET", gets))
        for path, handler in table.items()
    ]
    application = Starlette(
        routes=routes,
        exception_handlers={
            Refusal: replies.refused,
            HTTPException: replies.no_such_route,
        },
    )
    return monitoring.Counted(bounded(application), metrics)


def _rendered(answers: list[servable.Outputs], key: str) -> bytes:
    return json.dumps(payload.render(answers, key)).encode()


def _classes(
    active: keeper.Active, probabilities: np.ndarray, top: int
) -> dict[str, Any]:
    info = active.model.info
    # Of equal ones the first, as evaluation counts them.
    order = np.argsort(-probabilities, kind="stable")[:top]
    return {
        "version": active.source.number,
        "activation": info.activation,
        "classes": [
            {
                "index": int(index),
                "class": info.class_names[index],
                "probability": float(probabilities[index]),
            }
            for index in order
        ],
    }


def _version(request: Request) -> int | None:
    text = request.path_params.get("version")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > _DIGITS:
        raise Refusal(400, f"Failed to convert version: {text} to numeric.")
    return int(text)


def _top(text: str) -> int:
    if (
        not text.isdecimal()
        or len(text) > _DIGITS
        or not 1 <= int(text) <= 1000
    ):
        raise Refusal(400, f"top={text!r} must be a number from 1 to 1000.")
    return int(text)
