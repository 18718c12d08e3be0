"""From pictures to answers: checked beside each other, computed in batches."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
        """Gives a loaded version its batchers."""
        batchers: dict[str, Batcher[Any, servable.Outputs]] = {
            signature: Batcher(
                self._runner(model, signature), self._sizes, self._max_wait
            )
            for signature in servable.INPUTS
        }
        return keeper.Active(source, model, batchers)

    def _runner(
        self, model: servable.Servable, signature: str
    ) -> Callable[
        [list[Any]], Awaitable[Sequence[servable.Outputs | Exception]]
    ]:
        async def run(
            items: list[Any],
        ) -> Sequence[servable.Outputs | Exception]:
            began = time.perf_counter()
            loop = asyncio.get_running_loop()
            answers = await loop.run_in_executor(
                self._model_thread, model.run, signature, items
            )
            self._metrics.batch_pictures.observe(len(items))
            self._metrics.batch_seconds.observe(time.perf_counter() - began)
            return answers

        return run

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
        signature: str,
        items: Sequence[bytes | np.ndarray],
        key: str,
    ) -> list[servable.Outputs]:
        """Computes the pictures of one request.

        Args:
            active: The version.
            signature: One of servable.INPUTS.
            items: The pictures.
            key: What they are called in messages: `key[3]`; a single picture
                without a list has "".

        Returns:
            The outputs of each, in order.

        Raises:
            Refusal: The queue is full, or a picture cannot be read.
        """
        with self._admitted(len(items)), active.used():
            if signature == servable.ENCODED:
                items = await self._checked(items, key)
            answers = await active.batchers[signature].submit(items)
        self._refuse_bad(answers, key)
        return answers  # type: ignore[return-value]

    @contextlib.contextmanager
    def _admitted(self, count: int) -> Iterator[None]:
        self._queue.take(count)
        try:
            yield
        finally:
            self._queue.give(count)

    async def _checked(self, items: Sequence[Any], key: str) -> list[bytes]:
        found = await asyncio.gather(
            *(
                self.in_worker(pictures.checked, item, self.limits.max_pixels)
                for item in items
            ),
            return_exceptions=True,
        )
        self._refuse_bad(found, key)
        return found  # type: ignore[return-value]

    def _refuse_bad(self, found: Sequence[object], key: str) -> None:
        """Raises what went wrong, where something did.

        Raises:
            Refusal: Pictures cannot be read; it names the first of them.
            Exception: What else has gone wrong.
        """
        bad = []
        for index, one in enumerate(found):
            if isinstance(
                one, pictures.UnreadableImageError | servable.BadPictureError
            ):
                where = f"{key}[{index}]" if key else "The picture"
                bad.append(f"{where}: {one}")
            elif isinstance(one, BaseException):
                raise one
        if not bad:
            return
        self._metrics.refused_pictures.inc(len(bad))
        more = len(bad) - _NAMED
        listed = "; ".join(bad[:_NAMED])
        raise Refusal(400, listed + (f"; and {more} more" if more > 0 else ""))

    def close(self) -> None:
        """Ends the threads, without waiting for them."""
        for threads in (self._model_thread, self._workers):
            threads.shutdown(wait=False, cancel_futures=True)
