"""A response that is read from a database cursor while it is sent, and always closes the cursor."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

# A client that does not read the response occupies a database connection.
SEND_TIMEOUT: Final = 30.0  # seconds
# The same URL has another representation for another Accept header.
_HEADERS: Final = {"Vary": "Accept"}


class CursorResponse(StreamingResponse):
    """A response whose body is read from a database cursor while it is being sent.

    The cursor is closed, and its connection returned to the pool, however the response ends: after
    the last chunk, after an error, if the client disconnects, and if the client does not read for
    `SEND_TIMEOUT` seconds.
    """

    def __init__(
        self,
        first_chunk: bytes | None,
        remaining_chunks: AsyncGenerator[bytes, None],
        media_type: str,
    ) -> None:
        """Create a response with status 200.

        Args:
            first_chunk: The beginning of the body. The caller reads it before the response starts,
                so that a failing query gets an error response. None for a HEAD request, whose
                response has no body.
            remaining_chunks: The generator that reads the rest of the body from the cursor.
            media_type: The Content-Type of the response.
        """
        self._first_chunk = first_chunk
        self._remaining_chunks = remaining_chunks
        super().__init__(self._body_chunks(), headers=_HEADERS, media_type=media_type)

    async def _body_chunks(self) -> AsyncIterator[bytes]:
        if self._first_chunk is not None:
            yield self._first_chunk
            async for chunk in self._remaining_chunks:
                yield chunk

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and stop early if the client disconnects.

        Raises `ClientDisconnect` if the client disconnects before the response is complete.
        """
        # The base class uses a task group. A cancelled task group also cancels the cleanup of its
        # tasks, so that the driver could not tell Postgres to stop a running FETCH.
        send_task = asyncio.create_task(self.stream_response(send))
        disconnect_task = asyncio.create_task(self.listen_for_disconnect(receive))
        tasks = {send_task, disconnect_task}
        try:
            done_tasks, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            send_task.cancel()
            disconnect_task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        if send_task not in done_tasks:
            raise ClientDisconnect
        # Raise the exception with which the task ended, if it has failed.
        send_task.result()

    async def stream_response(self, send: Send) -> None:
        """Send the headers and the body of the response, then close the database cursor."""

        async def send_with_timeout(message: Message) -> None:
            """Send one part of the response. A client that does not read it counts as gone."""
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        try:
            await super().stream_response(send_with_timeout)
        finally:
            await self._remaining_chunks.aclose()
