"""Which version is served: the highest that works, as they come and go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
from absl import logging

from trainer.serving import monitoring, servable, versions
from trainer.serving.batcher import Batcher
from trainer.serving.limits import Refusal

# What loads a version, from its folder.
Load = Callable[[str], servable.Servable]

AVAILABLE, LOADING, FAILED = "AVAILABLE", "LOADING", "END"


class Active:
    """A version that answers, with its batcher."""

    def __init__(
        self,
        source: versions.Version,
        model: servable.Servable,
        batcher: Batcher[np.ndarray, servable.Outputs],
    ) -> None:
        """Starts the batcher, in the running event loop."""
        self.source = source
        self.model = model
        self.batcher = batcher
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._work = asyncio.create_task(batcher.work())

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keeps it alive for one request."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def retire(self) -> None:
        """Stops it once its last request has been answered."""
        await self._unused.wait()
        self._work.cancel()


class Keeper:
    """Serves the highest version that can be loaded, and looks for others.

    What has been loaded goes on serving until another has taken its place: a
    version that is broken, or a folder that disappears, is a problem to tell
    of, and no reason to stop.
    """

    def __init__(
        self,
        place: versions.Place,
        load: Load,
        activate: Callable[[versions.Version, servable.Servable], Active],
        metrics: monitoring.Metrics,
    ) -> None:
        """Starts with nothing; `refresh` loads.

        Args:
            place: Where the versions are.
            load: Takes its time, in a thread of its own.
            activate: Gives a loaded version its batcher.
            metrics: Hears of versions.
        """
        self.place = place
        self._load = load
        self._activate = activate
        self._metrics = metrics
        self._loader = futures.ThreadPoolExecutor(1, "loader")
        self._current: Active | None = None
        self._loading: int | None = None
        self._failed: dict[versions.Version, str] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._gone = False

    @property
    def current(self) -> Active | None:
        """The version that answers; None until the first is loaded."""
        return self._current

    def find(self, name: str, number: int | None = None) -> Active:
        """Returns what answers a request for a model.

        Raises:
            Refusal: It has another name or version, or is not loaded yet.
        """
        current = self._current
        wanted = (
            f"Latest({name})"
            if number is None
            else f"Specific({name}, {number})"
        )
        served = f" There is {self.place.name}"
        if current is not None:
            served += f", version {current.source.number}"
        if name == self.place.name and current is None:
            raise Refusal(503, f"{name} is being loaded. Try again.", 2)
        if (
            current is None
            or name != self.place.name
            or number not in (None, current.source.number)
        ):
            raise Refusal(
                404, f"Servable not found for request: {wanted}.{served}."
            )
        return current

    def problems(self) -> list[str]:
        """Returns what keeps a newer version from being served."""
        found = [
            f"version {version.number}: {reason}"
            for version, reason in sorted(
                self._failed.items(), key=lambda item: -item[0].number
            )
        ]
        if self._gone:
            found.append(f"{self.place.folder}: no version is there any more")
        return found

    def states(self) -> dict[int, tuple[str, str]]:
        """Returns a state and, of those that failed, why, by version."""
        found = {
            version.number: (FAILED, reason)
            for version, reason in self._failed.items()
        }
        if self._loading is not None:
            found[self._loading] = (LOADING, "")
        if self._current is not None:
            found[self._current.source.number] = (AVAILABLE, "")
        return dict(sorted(found.items(), reverse=True))

    async def watch(self, poll_seconds: float) -> None:
        """Looks for other versions until it is cancelled."""
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                await self.refresh()
            except Exception:
                # Whatever happens to the disk: what is loaded stays.
                logging.exception("Looking for versions failed.")

    async def refresh(self) -> None:
        """Looks once, and loads the highest version that works.

        A version that is older than the current one is loaded where the
        current one has been removed: the way to roll back.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._loader, self.place.versions)
        self._failed = {v: r for v, r in self._failed.items() if v in found}
        gone = not found and self._current is not None
        if gone and not self._gone:
            logging.warning(
                "%s: no version is there any more; the one in memory goes on.",
                self.place.folder,
            )
        self._gone = gone
        for version in found:
            if self._current is not None and version == self._current.source:
                return
            if version not in self._failed and await self._try(version):
                return

    async def _try(self, version: versions.Version) -> bool:
        loop = asyncio.get_running_loop()
        self._loading = version.number
        logging.info("Loading %s.", version.path)
        try:
            model = await loop.run_in_executor(
                self._loader, self._load, version.path
            )
        except Exception as error:
            if not isinstance(error, servable.LoadError):
                logging.exception("Loading %s failed.", version.path)
            self._failed[version] = str(error)
            self._metrics.load_failures.inc()
            before = self._current
            logging.error(
                "Version %d is not served: %s %s",
                version.number,
                error,
                f"Version {before.source.number} goes on." if before else "",
            )
            return False
        finally:
            self._loading = None
        former, self._current = self._current, self._activate(version, model)
        self._metrics.version.set(version.number)
        logging.info("Serving %s, version %d.", self.place.name, version.number)
        if former is not None:
            task = asyncio.create_task(_let_go(former))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        return True

    def close(self) -> None:
        """Ends the thread that loads."""
        self._loader.shutdown(wait=False, cancel_futures=True)


async def _let_go(former: Active) -> None:
    await former.retire()
    del former
    # A loaded graph is full of cycles; without this both stay in memory for
    # as long as little else is allocated.
    await asyncio.sleep(0)
    gc.collect()
