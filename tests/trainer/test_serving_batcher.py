"""What waits is computed together, in few sizes, whoever gives up."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from trainer.serving import batcher

SIZES = (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("waiting", "count", "size"),
    [
        (1, 1, 1),
        (2, 2, 2),
        (3, 3, 4),
        (4, 4, 4),
        # One of eight more than four: three eighths would be wasted.
        (5, 4, 4),
        (6, 6, 8),
        (7, 7, 8),
        (8, 8, 8),
        (9, 8, 8),
        (100, 8, 8),
    ],
)
def test_little_of_a_batch_is_wasted(
    waiting: int, count: int, size: int
) -> None:
    assert batcher.taken(waiting, SIZES) == count
    assert batcher.padded(count, SIZES) == size


def test_without_a_smaller_size_a_batch_is_filled_up() -> None:
    assert batcher.taken(1, (8,)) == 1
    assert batcher.padded(1, (8,)) == 8


class Model:
    """Squares numbers; computes only when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        await self.gate.wait()
        if 666 in items:
            raise RuntimeError("the model is broken")
        return [item**2 for item in items]


def run(
    scenario: Callable[[Model, batcher.Batcher], Awaitable[None]],
    max_wait_seconds: float = 0.0,
) -> None:
    async def all_of_it() -> None:
        model = Model()
        tested = batcher.Batcher(model, SIZES, max_wait_seconds)
        work = asyncio.create_task(tested.work())
        await asyncio.wait_for(scenario(model, tested), 20)
        assert not work.done()
        work.cancel()

    asyncio.run(all_of_it())


def test_callers_share_a_batch_and_get_their_own() -> None:
    async def scenario(model: Model, tested: batcher.Batcher) -> None:
        answers = await asyncio.gather(
            tested.submit([1, 2]), tested.submit([3]), tested.submit([4])
        )
        assert answers == [[1, 4], [9], [16]]
        assert model.batches == [[1, 2, 3, 4]]

    run(scenario, max_wait_seconds=0.05)


def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    async def scenario(model: Model, tested: batcher.Batcher) -> None:
        model.gate.clear()
        first = asyncio.create_task(tested.submit([0]))
        while not model.batches:
            await asyncio.sleep(0)
        rest = [asyncio.create_task(tested.submit([i])) for i in range(1, 12)]
        await asyncio.sleep(0)
        model.gate.set()
        assert await first == [0]
        assert await asyncio.gather(*rest) == [[i * i] for i in range(1, 12)]
        assert [len(batch) for batch in model.batches] == [1, 8, 3]

    run(scenario)


def test_a_full_batch_does_not_wait() -> None:
    async def scenario(model: Model, tested: batcher.Batcher) -> None:
        assert await tested.submit(range(8)) == [i * i for i in range(8)]

    run(scenario, max_wait_seconds=3600)


def test_the_first_one_waits_no_longer_than_told() -> None:
    async def scenario(model: Model, tested: batcher.Batcher) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await tested.submit([3]) == [9]
        assert 0.1 <= loop.time() - began < 5

    run(scenario, max_wait_seconds=0.1)


def test_who_gives_up_is_not_computed() -> None:
    async def scenario(model: Model, tested: batcher.Batcher) -> None:
        model.gate.clear()
        first = asyncio.create_task(tested.submit([1]))
        while not model.batches:
            await asyncio.sleep(0)
        second = asyncio.create_task(tested.submit([2, 3]))
        third = asyncio.create_task(tested.submit([4]))
        await asyncio.sleep(0)
        first.cancel()  # It is being computed: nobody hears of it.
        second.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        assert await third == [16]
        assert model.batches == [[1], [4]]

    run(scenario)


def test_a_broken_batch_is_not_the_end() -> None:
    async def scenario(model: Model, tested: batcher.Batcher) -> None:
        with pytest.raises(RuntimeError, match="the model is broken"):
            await tested.submit([1, 666])
        assert await tested.submit([7]) == [49]

    run(scenario)
