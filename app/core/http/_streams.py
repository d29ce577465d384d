"""Whole lists as JSON lines or CSV, streamed from a database cursor in constant memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.core.caller_limits import Caller
from app.core.db import Database, Session
from app.core.formats import LineWriter, create_writer
from app.core.http._callers import identify_caller
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources
from app.core.http._stream_formats import StreamFormat
from app.core.http._stream_queries import StreamQuery
from app.core.http._stream_response import CursorResponse, StreamLimits
from app.core.read_ahead import read_ahead
from app.core.transfer_clock import MinimumRate


class StreamingService(Protocol):
    """A service that can read a list of any length, one batch of items after the other."""

    def stream(self, query: Any, /) -> AsyncIterator[list[Any]]:
        """Yield all items that match the filters of the query, in batches."""


CreateStreamingService = Callable[[Session], StreamingService]


async def stream_list(
    request: Request,
    stream_format: StreamFormat,
    file_name: str,
    query: StreamQuery,
    item_model: type[BaseModel],
    create_service: CreateStreamingService,
) -> StreamingResponse:
    """Return a response that streams a whole list to the client, for example as a CSV file.

    Raises `TooManyRequests` if the caller has too many streams, and `Overloaded` if all callers
    together have too many.

    Args:
        request: The request for the list.
        stream_format: The format of the file.
        file_name: The name under which clients save the file, for example "books.csv".
        query: The filters and the sort order of the list.
        item_model: The class of the items in the list.
        create_service: Creates the service that reads the items from the database.
    """
    writer = create_writer(stream_format.writer_format, item_model, query.csv_style())
    resources = http_resources(request)
    caller = identify_caller(request)
    file_chunks = _read_file_chunks(resources.database, caller, writer, query, create_service)
    settings = resources.settings
    minimum_rate = MinimumRate(settings.min_stream_rate, grace_seconds=settings.request_timeout)
    limits = StreamLimits(settings.stream_timeout, minimum_rate)

    first_chunk = None
    # The response to a HEAD request has no body, so the database is not queried.
    if not request_state(request.scope).is_head:
        # Run the query before the response starts. If it fails, the client can still get an error
        # response. After the first chunk, the status 200 has already been sent.
        first_chunk = await anext(file_chunks)
    response = CursorResponse(first_chunk, file_chunks, stream_format.media_type, limits)
    response.headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


async def _read_file_chunks(
    database: Database,
    caller: Caller,
    writer: LineWriter,
    query: StreamQuery,
    create_service: CreateStreamingService,
) -> AsyncGenerator[bytes, None]:
    """Read a list from the database, and yield it as the chunks of a file.

    Each chunk has the lines of one batch of items. The first one begins with the header of the
    file, for example the column names of CSV.
    """
    unsent_header = writer.header
    async with (
        database.streaming_transaction(caller) as session,
        aclosing(read_ahead(create_service(session).stream(query))) as batches,
    ):
        async for items in batches:
            yield unsent_header + writer.format_lines(items)
            unsent_header = b""
    # The file of an empty list consists of the header only. For other lists, this chunk is empty.
    yield unsent_header
