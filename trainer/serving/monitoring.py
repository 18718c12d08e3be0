"""What a server counts, in Prometheus's format."""

from __future__ import annotations

import time

import prometheus_client as prometheus
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128)
# By the first part of the path, so that strangers cannot add labels.
_KINDS = {
    "": "page",
    "classify": "classify",
    "healthz": "health",
    "readyz": "health",
    "metrics": "metrics",
}


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        """Starts at zero."""
        to = self._registry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "lockstep_requests",
            "Requests answered.",
            ["kind", "code"],
            registry=to,
        )
        self.seconds = prometheus.Histogram(
            "lockstep_request_seconds",
            "From the head of a request to its answer.",
            ["kind"],
            buckets=_SECONDS,
            registry=to,
        )
        self.batch_pictures = prometheus.Histogram(
            "lockstep_batch_pictures",
            "Pictures in a batch, without what fills it up.",
            buckets=_PICTURES,
            registry=to,
        )
        self.batch_seconds = prometheus.Histogram(
            "lockstep_batch_seconds",
            "Computing a batch.",
            buckets=_SECONDS,
            registry=to,
        )
        self.refused_pictures = prometheus.Counter(
            "lockstep_refused_pictures",
            "Pictures that cannot be read.",
            registry=to,
        )
        self.queue = prometheus.Gauge(
            "lockstep_queue_pictures",
            "Pictures checked, waiting or computed.",
            registry=to,
        )
        self.held = prometheus.Gauge(
            "lockstep_held_bytes", "Bodies of requests in memory.", registry=to
        )
        self.version = prometheus.Gauge(
            "lockstep_model_version", "The version that answers.", registry=to
        )
        self.load_failures = prometheus.Counter(
            "lockstep_model_load_failures",
            "Versions that could not be loaded.",
            registry=to,
        )
        prometheus.ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Returns all of them, as Prometheus reads them."""
        return prometheus.generate_latest(self._registry)


class Counted:
    """An application whose answers are counted and timed."""

    def __init__(self, application: ASGIApp, metrics: Metrics) -> None:
        """Wraps an application."""
        self._application = application
        self._metrics = metrics

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        kind = _kind(scope["path"])
        began = time.perf_counter()
        code = 500

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, watched)
        finally:
            self._metrics.requests.labels(kind, code).inc()
            self._metrics.seconds.labels(kind).observe(
                time.perf_counter() - began
            )


def _kind(path: str) -> str:
    first, _, rest = path.removeprefix("/").partition("/")
    if first == "v1":
        return "predict" if rest.endswith(":predict") else "model"
    return _KINDS.get(first, "other") if not rest else "other"
