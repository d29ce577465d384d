"""The bytes of one object on their way to the store."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from app.core.errors import PayloadTooLarge
from app.core.metrics import UPLOADED
from app.core.storage import NotStored, Storage
from app.documents.repository import expired

PART: Final = 8 * 1024 * 1024  # bytes
IN_FLIGHT: Final = 2  # parts of an upload that are sent at a time


class Upload:
    """Sends what is written in parts while the next one fills; less than a part in one go.

    Writing waits while all of the storage's slots for parts are taken, and with it the client.
    `touch` is called now and then; it tells whether the object is still wanted.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        *,
        limit: int,
        touch: Callable[[], Awaitable[bool]],
        touch_every: float,
    ) -> None:
        self.key, self.size = key, 0
        self._storage, self._limit = storage, limit
        self._touch, self._touch_every, self._touched = touch, touch_every, monotonic()
        self._part, self._filled = bytearray(), 0
        self._upload_id: str | None = None
        self._sending: list[asyncio.Task[str]] = []
        self._digest = hashlib.sha256()
        self._hashed: asyncio.Future[None] | None = None

    async def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        UPLOADED.inc(len(data))
        if self.size > self._limit:
            raise PayloadTooLarge
        await self._progress()
        rest = memoryview(data)
        while rest:
            if self._filled == len(self._part):
                await self._next_part()
            piece = rest[: len(self._part) - self._filled]
            self._part[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            rest = rest[len(piece) :]

    async def finish(self) -> str:
        """The hexadecimal SHA-256, once the object is in the store."""
        await self._progress()
        del self._part[self._filled :]
        if self._upload_id is None:
            await self._hash(self._part)
            await self._storage.put(self.key, self._part)
        else:
            await self._send(self._part)
            await self._complete(self._upload_id)
        if self._hashed is not None:
            await self._hashed
        return self._digest.hexdigest()

    async def stop(self) -> None:
        """Wait for what is on its way, whatever becomes of it."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def abort(self) -> None:
        """Have the store forget what it has got."""
        if self._upload_id is not None:
            await self._storage.abort(self.key, self._upload_id)

    async def _next_part(self) -> None:
        if self._part:
            if self._upload_id is None:
                self._upload_id = await self._storage.start(self.key)
            await self._send(self._part)
        self._part, self._filled = bytearray(PART), 0

    async def _send(self, part: bytearray) -> None:
        await self._hash(part)
        if len(self._sending) >= IN_FLIGHT:
            await self._sending[-IN_FLIGHT]  # what fails, fails the upload now and not at its end
        await self._storage.part_slots.acquire()
        number = len(self._sending) + 1
        self._sending.append(asyncio.create_task(self._put(number, part)))

    async def _put(self, number: int, part: bytearray) -> str:
        try:
            with _unswept():
                return await self._storage.put_part(self.key, self._upload_id or "", number, part)
        finally:
            self._storage.part_slots.release()

    async def _complete(self, upload_id: str) -> None:
        etags = await asyncio.gather(*self._sending)
        with _unswept():
            try:
                await self._storage.complete(self.key, upload_id, etags)
            except NotStored:  # it is there when this was done and only the answer was lost
                await self._storage.size(self.key)

    async def _progress(self) -> None:
        """Keep the object from the sweeper, at the end too: what comes then must not be late."""
        if monotonic() - self._touched > self._touch_every:
            self._touched = monotonic()
            if not await self._touch():
                raise expired()

    async def _hash(self, part: bytearray) -> None:
        """Begin with this part's hash once that of the part before is done."""
        if self._hashed is not None:
            await self._hashed
        loop = asyncio.get_running_loop()
        self._hashed = loop.run_in_executor(None, self._digest.update, part)


@contextmanager
def _unswept() -> Iterator[None]:
    try:
        yield
    except NotStored as error:
        raise expired() from error
