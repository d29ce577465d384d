"""A response that sends a database cursor row by row, and always closes it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

# A client that does not read what was sent to it holds a database connection.
SEND_TIMEOUT: Final = 30.0  # seconds
_OK: Final = 200
# The same URL has another representation for another Accept header.
_HEADERS: Final = {"Vary": "Accept"}


class CursorResponse(StreamingResponse):
    """Sends chunks that come from a database cursor, and closes the cursor however it ends.

    Closing it returns the connection to the pool: after the last chunk, after an error, if the
    client disconnects, and if the client does not read for `SEND_TIMEOUT` seconds.

    Args:
        first_chunk: A chunk that has been read before the response, so that an error of the query
            still has its own response. None for HEAD, which reads no rows.
        remaining_chunks: The generator that reads the other chunks from the cursor.
        media_type: The media type of the response.
    """

    def __init__(
        self,
        first_chunk: bytes | None,
        remaining_chunks: AsyncGenerator[bytes, None],
        media_type: str,
    ) -> None:
        self._first_chunk = first_chunk
        self._remaining_chunks = remaining_chunks
        super().__init__(self._all_chunks(), _OK, _HEADERS, media_type)

    async def _all_chunks(self) -> AsyncIterator[bytes]:
        if self._first_chunk is not None:
            yield self._first_chunk
            async for chunk in self._remaining_chunks:
                yield chunk

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. Raises `ClientDisconnect` if the client leaves before its end."""
        # The base class uses a task group. When that is cancelled, every later await is cancelled
        # as well, including the one in which the driver asks Postgres to stop a running FETCH.
        send_task = asyncio.create_task(self.stream_response(send))
        disconnect_task = asyncio.create_task(self.listen_for_disconnect(receive))
        tasks = {send_task, disconnect_task}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            send_task.cancel()
            disconnect_task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if send_task not in done:
            raise ClientDisconnect
        # Raises the error of the task, if it has one.
        send_task.result()

    async def stream_response(self, send: Send) -> None:
        """Send all chunks, then close the cursor."""

        async def send_with_timeout(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        try:
            await super().stream_response(send_with_timeout)
        finally:
            await self._remaining_chunks.aclose()
