"""A server from its settings: the parts, and the order of start and end."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
from collections.abc import Callable

from starlette.types import ASGIApp

from input import errors
from trainer.serving import (
    app,
    connections,
    keeper,
    monitoring,
    servable,
    service,
    versions,
)
from trainer.serving.limits import Limits


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the flags of trainer.serve say; see there.

    Attributes:
        model: Path of the model.
        name: Of the model in URLs; None for the name of its folder.
        host: Address to listen at.
        port: 0 for one that is free.
        limits: What is refused.
        batch_sizes: Rising, above 0.
        batch_wait_seconds: For company, while the model is idle.
        max_connections: At a time.
        poll_seconds: Between two looks for new versions.
    """

    model: str
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8501
    limits: Limits = dataclasses.field(default_factory=Limits)
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    batch_wait_seconds: float = 0.002
    max_connections: int = 512
    poll_seconds: float = 2.0


class Server:
    """Serves one model."""

    def __init__(self, settings: Settings) -> None:
        """Finds the model and opens the port.

        Raises:
            errors.UsageError: There is no model, or the port is taken.
        """
        self._settings = settings
        place = versions.locate(settings.model, settings.name)
        self._socket = connections.listen(settings.host, settings.port)
        metrics = monitoring.Metrics()
        self._service = service.Service(
            settings.limits,
            metrics,
            settings.batch_sizes,
            settings.batch_wait_seconds,
            len(os.sched_getaffinity(0)),
        )
        self._keeper = keeper.Keeper(
            place,
            functools.partial(
                servable.Servable,
                sizes=settings.batch_sizes,
                max_pixels=settings.limits.max_pixels,
            ),
            self._service.activate,
            metrics,
        )
        self._http = connections.server(
            app.make(self._service, self._keeper, metrics, self._bounded),
            read_seconds=settings.limits.read_seconds,
            grace_seconds=settings.limits.timeout_seconds,
        )

    def _bounded(self, application: ASGIApp) -> ASGIApp:
        return connections.Bounded(
            application,
            self._settings.max_connections,
            lambda: len(self._http.server_state.connections),
        )

    @property
    def address(self) -> str:
        """The URL, also before anything is served."""
        return connections.address(self._socket)

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serves until a signal, or `stop`.

        Health is answered at once, while the model is still being loaded.

        Args:
            announce: Is told, once, what is served and where.

        Raises:
            errors.DataError: No version can be loaded.
        """
        serving = asyncio.create_task(self._http.serve([self._socket]))
        watching = asyncio.create_task(self._watch(announce))
        await asyncio.wait(
            (serving, watching), return_when=asyncio.FIRST_COMPLETED
        )
        self.stop()
        await serving
        self._keeper.close()
        self._service.close()
        if watching.done():
            watching.result()
        watching.cancel()

    def stop(self) -> None:
        """Ends `run` when what has been asked is answered; from any thread."""
        self._http.should_exit = True

    async def _watch(self, announce: Callable[[str], None]) -> None:
        kept = self._keeper
        await kept.refresh()
        if kept.current is None:
            raise errors.DataError(
                f"--model={self._settings.model}: no version can be loaded: "
                f"{'; '.join(kept.problems())}"
            )
        announce(
            f"{kept.place.name}, version {kept.current.source.number}, is "
            f"served at {self.address}"
        )
        await kept.watch(self._settings.poll_seconds)
