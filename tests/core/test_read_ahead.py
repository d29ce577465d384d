"""Tests of processing batches of items while the next ones are read."""

import asyncio
from collections.abc import Iterator

import pytest

from app.core.read_ahead import process_while_reading


async def return_batch(batch: list[int]) -> list[int]:
    await asyncio.sleep(0)
    return batch


@pytest.mark.parametrize(
    ("count", "batches"),
    [(0, []), (1, [[0]]), (2, [[0, 1]]), (3, [[0, 1], [2]]), (4, [[0, 1], [2, 3]])],
)
async def test_results_have_the_order_of_the_items(count: int, batches: list[list[int]]) -> None:
    results = process_while_reading(range(count), return_batch, batch_size=2)
    assert [result async for result in results] == batches


async def test_next_items_are_read_while_a_batch_is_processed() -> None:
    last_item_was_read = asyncio.Event()

    def read_items() -> Iterator[int]:
        yield from range(1000)
        last_item_was_read.set()
        yield 1000

    async def wait_for_last_item(batch: list[int]) -> int:
        async with asyncio.timeout(10):
            await last_item_was_read.wait()
        return len(batch)

    results = process_while_reading(read_items(), wait_for_last_item, batch_size=1000)
    assert [result async for result in results] == [1000, 1]


async def test_only_one_batch_is_processed_at_a_time() -> None:
    running = 0

    async def process(_: list[int]) -> int:
        nonlocal running
        running += 1
        await asyncio.sleep(0)
        concurrent = running
        await asyncio.sleep(0)
        running -= 1
        return concurrent

    results = process_while_reading(range(10), process, batch_size=2)
    assert [result async for result in results] == [1] * 5


@pytest.mark.parametrize("exception", [ValueError, asyncio.CancelledError])
async def test_error_of_reading_is_raised_after_processing_was_cancelled(
    exception: type[BaseException],
) -> None:
    was_cancelled = False

    def read_items() -> Iterator[int]:
        yield from range(800)
        raise exception

    async def process(_: list[int]) -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(exception):
        _ = [
            result async for result in process_while_reading(read_items(), process, batch_size=500)
        ]
    assert was_cancelled


async def test_error_of_processing_ends_the_reading() -> None:
    items = iter(range(10_000))

    async def fail(_: list[int]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        _ = [result async for result in process_while_reading(items, fail, batch_size=10)]
    assert next(items) == 20
