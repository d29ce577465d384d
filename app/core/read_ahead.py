"""Read the next items while the previous ones are processed, for example by the database."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# How many items are read before the event loop runs other tasks.
_ITEMS_PER_TURN: Final = 250


async def process_while_reading(
    items: Iterable[ItemT],
    send: Callable[[list[ItemT]], Awaitable[None]],
    process: Callable[[], Awaitable[ResultT]],
    *,
    batch_size: int,
) -> AsyncIterator[ResultT]:
    """Send items in batches, process each batch after it was sent, and yield the results.

    While a batch is processed, the next one is read. An import therefore parses lines while
    Postgres inserts the lines before them. Nothing is read while a batch is sent, because sending
    uses the processor itself: reading would only delay it, and Postgres would have nothing to do.
    Two batches are in memory.

    If reading fails, the batch that is being processed is cancelled. The exception is raised after
    the cancellation has ended.

    Args:
        items: The items, such as a generator of more items than fit into memory.
        send: Sends one batch to another process, such as Postgres.
        process: Lets the other process work on the batch that was sent last, and waits for it.
        batch_size: The maximum number of items in a batch.
    """
    remaining_items = iter(items)
    batch = await _read_batch(remaining_items, batch_size)
    while batch:
        await send(batch)
        processing = asyncio.ensure_future(process())
        try:
            batch = await _read_batch(remaining_items, batch_size)
            yield await processing
        finally:
            processing.cancel()
            await asyncio.wait([processing])


async def read_ahead(batches: AsyncIterator[ItemT]) -> AsyncGenerator[ItemT, None]:
    """Yield the batches of an iterator, and request the next one before each is yielded.

    While the caller works with a batch, for example to write it to a file, the database reads the
    next one. Close the generator (`contextlib.aclosing`), so that no request is left if the caller
    stops early.
    """
    request = asyncio.ensure_future(_next_or_none(batches))
    try:
        while (batch := await request) is not None:
            request = asyncio.ensure_future(_next_or_none(batches))
            # Let the request be sent before the caller uses the processor.
            await asyncio.sleep(0)
            yield batch
    finally:
        request.cancel()
        await asyncio.wait([request])


async def _next_or_none(batches: AsyncIterator[ItemT]) -> ItemT | None:
    """Return the next batch, or None after the last one."""
    return await anext(batches, None)


async def _read_batch(items: Iterator[ItemT], batch_size: int) -> list[ItemT]:
    """Return the next items, at most `batch_size`. Let other tasks run before each few of them."""
    batch: list[ItemT] = []
    while len(batch) < batch_size:
        await asyncio.sleep(0)
        some_items = list(islice(items, min(_ITEMS_PER_TURN, batch_size - len(batch))))
        if not some_items:
            break
        batch += some_items
    return batch
