"""Tests of reading ahead while batches of items are processed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from app.core.read_ahead import process_while_reading, read_ahead


class Receiver:
    """Receives batches. Its method `process` returns the batch that was sent last."""

    def __init__(self) -> None:
        self.batch: list[int] = []

    async def send(self, batch: list[int]) -> None:
        self.batch = batch

    async def process(self) -> list[int]:
        await asyncio.sleep(0)
        return self.batch


@pytest.mark.parametrize(
    ("count", "batches"),
    [(0, []), (1, [[0]]), (2, [[0, 1]]), (3, [[0, 1], [2]]), (4, [[0, 1], [2, 3]])],
)
async def test_results_have_the_order_of_the_items(count: int, batches: list[list[int]]) -> None:
    receiver = Receiver()
    results = process_while_reading(range(count), receiver.send, receiver.process, batch_size=2)
    assert [result async for result in results] == batches


async def test_next_items_are_read_while_a_batch_is_processed() -> None:
    receiver = Receiver()
    last_item_was_read = asyncio.Event()

    def read_items() -> Iterator[int]:
        yield from range(1000)
        last_item_was_read.set()
        yield 1000

    async def wait_for_last_item() -> int:
        async with asyncio.timeout(10):
            await last_item_was_read.wait()
        return len(receiver.batch)

    results = process_while_reading(
        read_items(), receiver.send, wait_for_last_item, batch_size=1000
    )
    assert [result async for result in results] == [1000, 1]


async def test_nothing_is_read_while_a_batch_is_sent() -> None:
    read_count = 0

    def read_items() -> Iterator[int]:
        nonlocal read_count
        for _ in range(9):
            read_count += 1
            yield read_count

    async def send(batch: list[int]) -> None:
        await asyncio.sleep(0)
        assert read_count == batch[-1]

    results = process_while_reading(read_items(), send, Receiver().process, batch_size=3)
    assert len([result async for result in results]) == 3


async def test_processing_begins_before_the_next_items_are_read() -> None:
    steps: list[str] = []

    def read_items() -> Iterator[int]:
        for number in range(3):
            steps.append(f"read {number}")
            yield number

    async def process() -> None:
        steps.append("process")

    results = process_while_reading(read_items(), Receiver().send, process, batch_size=2)
    _ = [result async for result in results]
    assert steps == ["read 0", "read 1", "process", "read 2", "process"]


async def test_only_one_batch_is_processed_at_a_time() -> None:
    running = 0

    async def process() -> int:
        nonlocal running
        running += 1
        await asyncio.sleep(0)
        concurrent = running
        await asyncio.sleep(0)
        running -= 1
        return concurrent

    results = process_while_reading(range(10), Receiver().send, process, batch_size=2)
    assert [result async for result in results] == [1] * 5


@pytest.mark.parametrize("exception", [ValueError, asyncio.CancelledError])
async def test_error_of_reading_is_raised_after_processing_was_cancelled(
    exception: type[BaseException],
) -> None:
    was_cancelled = False

    def read_items() -> Iterator[int]:
        yield from range(800)
        raise exception

    async def process() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    results = process_while_reading(read_items(), Receiver().send, process, batch_size=500)
    with pytest.raises(exception):
        _ = [result async for result in results]
    assert was_cancelled


async def test_error_of_processing_ends_the_reading() -> None:
    items = iter(range(10_000))

    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        _ = [
            result
            async for result in process_while_reading(items, Receiver().send, fail, batch_size=10)
        ]
    assert next(items) == 20


async def test_error_of_sending_ends_the_reading() -> None:
    items = iter(range(10_000))

    async def fail(_: list[int]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        _ = [
            result
            async for result in process_while_reading(
                items, fail, Receiver().process, batch_size=10
            )
        ]
    assert next(items) == 10


async def count_batches(count: int, requests: list[int]) -> AsyncIterator[int]:
    for number in range(count):
        requests.append(number)
        yield number


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_batches_that_are_read_ahead_have_their_order(count: int) -> None:
    async with aclosing(read_ahead(count_batches(count, []))) as batches:
        assert [batch async for batch in batches] == list(range(count))


async def test_next_batch_is_requested_before_a_batch_is_yielded() -> None:
    requests: list[int] = []
    async with aclosing(read_ahead(count_batches(3, requests))) as batches:
        assert await anext(batches) == 0
        assert requests == [0, 1]


async def test_error_is_raised_after_the_batches_before_it() -> None:
    async def read_batches() -> AsyncIterator[int]:
        yield 0
        raise LookupError

    async with aclosing(read_ahead(read_batches())) as batches:
        assert await anext(batches) == 0
        with pytest.raises(LookupError):
            await anext(batches)


async def test_request_is_cancelled_if_the_caller_stops_early() -> None:
    was_cancelled = False

    async def read_batches() -> AsyncIterator[int]:
        nonlocal was_cancelled
        yield 0
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    async with aclosing(read_ahead(read_batches())) as batches:
        assert await anext(batches) == 0
    assert was_cancelled
