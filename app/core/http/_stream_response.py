"""A response that is read from a database cursor while it is sent, and always closes the cursor."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from time import monotonic

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app.core.transfer_clock import MinimumRate, TransferClock


class StreamCutOff(Exception):
    """Raised if a response is ended before it is complete, because the client is too slow.

    The server then closes the connection without the last chunk, so that the client notices that
    the response is incomplete. The message is the reason, for the log.
    """


@dataclass(frozen=True)
class StreamLimits:
    """How long one stream may take.

    Args:
        timeout_seconds: The time for the whole stream.
        minimum_rate: The rate at which the client has to read.
    """

    timeout_seconds: float
    minimum_rate: MinimumRate


class CursorResponse(StreamingResponse):
    """A response whose body is read from a database cursor while it is being sent.

    The cursor is closed, and its connection returned to the pool, however the response ends: after
    the last chunk, after an error, if the client disconnects, and if the client is too slow. An
    open cursor does not only occupy a connection: Postgres cannot remove any row, of any table,
    that has been deleted or replaced since the cursor was opened.
    """

    def __init__(
        self,
        first_chunk: bytes | None,
        remaining_chunks: AsyncGenerator[bytes, None],
        media_type: str,
        limits: StreamLimits,
    ) -> None:
        """Create a response with status 200.

        Args:
            first_chunk: The beginning of the body. The caller reads it before the response starts,
                so that a failing query gets an error response. None for a HEAD request, whose
                response has no body.
            remaining_chunks: The generator that reads the rest of the body from the cursor.
            media_type: The Content-Type of the response.
            limits: How long the response may take.
        """
        self._first_chunk = first_chunk
        self._remaining_chunks = remaining_chunks
        self._timeout_seconds = limits.timeout_seconds
        self._clock = TransferClock(limits.minimum_rate)
        super().__init__(self._body_chunks(), media_type=media_type)

    async def _body_chunks(self) -> AsyncIterator[bytes]:
        if self._first_chunk is not None:
            yield self._first_chunk
            async for chunk in self._remaining_chunks:
                yield chunk

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and stop early if the client disconnects or is too slow.

        Raises `ClientDisconnect` or `StreamCutOff` if that happens before the response is complete.
        """
        # The base class uses a task group. A cancelled task group also cancels the cleanup of its
        # tasks, so that the driver could not tell Postgres to stop a running FETCH.
        send_task = asyncio.create_task(self.stream_response(send))
        disconnect_task = asyncio.create_task(self.listen_for_disconnect(receive))
        tasks = {send_task, disconnect_task}
        try:
            done_tasks, _ = await asyncio.wait(
                tasks, timeout=self._timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            send_task.cancel()
            disconnect_task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        if not done_tasks:
            raise StreamCutOff(f"the stream took more than {self._timeout_seconds:g} seconds")
        if send_task not in done_tasks:
            raise ClientDisconnect
        # Raise the exception with which the task ended, if it has failed.
        send_task.result()

    async def stream_response(self, send: Send) -> None:
        """Send the headers and the body of the response, then close the database cursor."""

        async def send_in_time(message: Message) -> None:
            """Send one part of the response, unless the client is too slow to read it."""
            started_at = monotonic()
            try:
                async with asyncio.timeout(self._clock.remaining_seconds):
                    await send(message)
            except TimeoutError:
                raise StreamCutOff("the client reads too slowly") from None
            self._clock.record(monotonic() - started_at, len(message.get("body", b"")))

        try:
            await super().stream_response(send_in_time)
        finally:
            await self._remaining_chunks.aclose()
