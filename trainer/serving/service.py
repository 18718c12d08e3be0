"""From pictures to answers: checked beside each other, computed in batches."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, TypeVar

import numpy as np

from trainer.serving import keeper, monitoring, pictures, servable, versions
from trainer.serving.batcher import Batcher
from trainer.serving.limits import Budget, Limits, Refusal

_Result = TypeVar("_Result")

# Bad pictures that one answer names.
_NAMED = 5


class Service:
    """What a server does, apart from HTTP.

    One thread computes; `workers` threads read requests and check pictures.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: monitoring.Metrics,
        sizes: Sequence[int],
        max_wait_seconds: float,
        workers: int,
    ) -> None:
        """Starts no version; `activate` does.

        Args:
            limits: What is refused.
            metrics: What counts.
            sizes: Of batches, rising.
            max_wait_seconds: See `Batcher`.
            workers: Threads beside the one of the model.
        """
        self.limits = limits
        self._metrics = metrics
        self._sizes = sizes
        self._max_wait = max_wait_seconds
        self._model_thread = futures.ThreadPoolExecutor(1, "model")
        self._workers = futures.ThreadPoolExecutor(workers, "worker")
        self._queue = Budget(
            limits.max_queue,
            f"The queue of {limits.max_queue:,} pictures is full. Try again "
            "later; --max_queue makes it longer.",
        )
        metrics.queue.set_function(lambda: self._queue.used)

    def activate(
        self, source: versions.Version, model: servable.Servable
    ) -> keeper.Active:
        """Gives a loaded version its batcher."""

        async def run(images: list[np.ndarray]) -> list[servable.Outputs]:
            began = time.perf_counter()
            loop = asyncio.get_running_loop()
            answers = await loop.run_in_executor(
                self._model_thread, model.run, images
            )
            self._metrics.batch_pictures.observe(len(images))
            self._metrics.batch_seconds.observe(time.perf_counter() - began)
            return answers

        batcher: Batcher[np.ndarray, servable.Outputs] = Batcher(
            run, self._sizes, self._max_wait
        )
        return keeper.Active(source, model, batcher)

    async def in_worker(
        self, function: Callable[..., _Result], *arguments: Any
    ) -> _Result:
        """Calls a function in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._workers, functools.partial(function, *arguments)
        )

    async def answer(
        self,
        active: keeper.Active,
        items: Sequence[bytes | np.ndarray],
        key: str,
    ) -> list[servable.Outputs]:
        """Computes the pictures of one request.

        Args:
            active: The version, which the caller keeps in use.
            items: The pictures, encoded, or uint8 [H, W, C].
            key: What they are called in messages: `key[3]`; a single picture
                without a list has "".

        Returns:
            The outputs of each, in order.

        Raises:
            Refusal: The queue is full, or a picture cannot be read.
        """
        with self._admitted(len(items)):
            images = await self._read(active, items, key)
            return await active.batcher.submit(images)

    @contextlib.contextmanager
    def _admitted(self, count: int) -> Iterator[None]:
        self._queue.take(count)
        try:
            yield
        finally:
            self._queue.give(count)

    async def _read(
        self,
        active: keeper.Active,
        items: Sequence[bytes | np.ndarray],
        key: str,
    ) -> list[np.ndarray]:
        """Returns the pixels of all pictures.

        Raises:
            Refusal: Some cannot be read; it names the first of them.
        """
        found = await asyncio.gather(
            *(
                self.in_worker(_pixels, active.model.read, item)
                for item in items
            )
        )
        bad = [
            f"{key}[{index}]: {one}" if key else f"The picture: {one}"
            for index, one in enumerate(found)
            if isinstance(one, str)
        ]
        if bad:
            self._metrics.refused_pictures.inc(len(bad))
            more = f"; and {len(bad) - _NAMED} more" * (len(bad) > _NAMED)
            raise Refusal(400, "; ".join(bad[:_NAMED]) + more)
        return found  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the threads, without waiting for them."""
        for threads in (self._model_thread, self._workers):
            threads.shutdown(wait=False, cancel_futures=True)


def _pixels(
    read: Callable[[bytes], np.ndarray], item: bytes | np.ndarray
) -> np.ndarray | str:
    """Returns the pixels of a picture, or what is wrong with it."""
    if isinstance(item, np.ndarray):
        return item
    try:
        return read(item)
    except pictures.UnreadableImageError as error:
        return str(error)
