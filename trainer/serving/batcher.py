"""Many small requests, few large batches.

What arrives while a batch is computed makes up the next one, so that batches
grow with the load by themselves. An idle model waits a little for company.
Nothing here knows of HTTP or of models. Source: TensorFlow Serving's
BasicBatchScheduler, https://github.com/tensorflow/serving/tree/master/
tensorflow_serving/batching.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# What computes a batch: an answer for each item, in order.
Run = Callable[[list[_Item]], Awaitable[Sequence[_Answer]]]


def padded(items: int, sizes: Sequence[int]) -> int:
    """Returns the size of batch that so many items are computed in.

    Args:
        items: At least 1, at most the largest of `sizes`.
        sizes: Of batches, rising.
    """
    return next(size for size in sizes if size >= items)


def taken(waiting: int, sizes: Sequence[int]) -> int:
    """Returns how many of those that wait go into the next batch.

    Of nine items at sizes 8 and 16, eight: a batch is filled up only where no
    more than a quarter of it is wasted, or where there is no smaller one.

    Args:
        waiting: At least 1.
        sizes: Of batches, rising.
    """
    if waiting >= sizes[-1]:
        return sizes[-1]
    below = [size for size in sizes if size <= waiting]
    if not below or 4 * waiting >= 3 * padded(waiting, sizes):
        return waiting
    return below[-1]


@dataclasses.dataclass
class _Waiting(Generic[_Item, _Answer]):
    item: _Item
    answer: asyncio.Future[_Answer]
    arrived: float


class Batcher(Generic[_Item, _Answer]):
    """Collects items of many callers and computes them in batches, in order.

    One batch at a time. To be used in one event loop, where `work` runs as a
    task.
    """

    def __init__(
        self,
        run: Run[_Item, _Answer],
        sizes: Sequence[int],
        max_wait_seconds: float,
    ) -> None:
        """Starts empty.

        Args:
            run: Computes a batch of at most the largest size.
            sizes: Of batches that are worth computing, rising, above 0.
            max_wait_seconds: How long the first item of a batch waits for
                others while nothing is computed.
        """
        self._run = run
        self._sizes = sizes
        self._max_wait = max_wait_seconds
        self._queue: collections.deque[_Waiting[_Item, _Answer]] = (
            collections.deque()
        )
        self._arrival = asyncio.Event()

    async def submit(self, items: Sequence[_Item]) -> list[_Answer]:
        """Returns the answer of each item, in order.

        A caller that is cancelled leaves the queue: what is not being computed
        yet never is.

        Raises:
            Exception: What computing a batch of them has raised.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        mine = [_Waiting(item, loop.create_future(), now) for item in items]
        self._queue.extend(mine)
        self._arrival.set()
        found = await asyncio.gather(
            *(one.answer for one in mine), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return found  # type: ignore[return-value]

    async def work(self) -> None:
        """Computes batches until it is cancelled."""
        while True:
            await self._collect()
            batch = self._take()
            if batch:
                await self._compute(batch)

    async def _collect(self) -> None:
        """Waits until there is a batch that should be computed."""
        while not self._queue:
            self._arrival.clear()
            await self._arrival.wait()
        loop = asyncio.get_running_loop()
        until = self._queue[0].arrived + self._max_wait
        while len(self._queue) < self._sizes[-1]:
            left = until - loop.time()
            if left <= 0:
                return
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except asyncio.TimeoutError:
                return

    def _take(self) -> list[_Waiting[_Item, _Answer]]:
        alive = [one for one in self._queue if not one.answer.done()]
        self._queue.clear()
        if not alive:
            return []
        count = taken(len(alive), self._sizes)
        self._queue.extend(alive[count:])
        return alive[:count]

    async def _compute(self, batch: list[_Waiting[_Item, _Answer]]) -> None:
        try:
            answers = await self._run([one.item for one in batch])
        except Exception as error:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():  # Its caller may have given up.
                one.answer.set_result(answer)
