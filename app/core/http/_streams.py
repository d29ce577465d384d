"""Whole lists as JSON lines or CSV, streamed from a database cursor in constant memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.core.caller_limits import Caller
from app.core.db import Database, Session
from app.core.errors import InvalidRequest, TooManyRequests
from app.core.field_errors import FieldError
from app.core.formats import LineWriter, create_writer
from app.core.http._accept import STREAM_FORMATS
from app.core.http._callers import identify_caller
from app.core.http._examples import MissingExample, build_example
from app.core.http._problem_examples import openapi_problem_responses
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources
from app.core.http._stream_response import CursorResponse, StreamLimits
from app.core.paging import PAGE_PARAMETERS, ListQuery
from app.core.transfer_clock import MinimumRate


def openapi_stream_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a list that clients can also get as JSON lines or CSV.

    The 200 response has one entry for each of these media types, with an example file of one item.
    The 429 response is for callers who have too many of these streams.

    Raises `TypeError` if the model cannot be written as CSV.
    """
    content_by_media_type: dict[str, dict[str, Any]] = {}
    for media_type, file_format in STREAM_FORMATS.items():
        description = f"One {model.__name__} per line. CSV begins with a line of column names."
        media_type_object: dict[str, Any] = {
            "schema": {"type": "string", "format": "binary", "description": description}
        }
        writer = create_writer(file_format, model)
        example_item = _build_example_item(model)
        if example_item is not None:
            example_file = writer.header + writer.format_lines([example_item])
            media_type_object["example"] = example_file.decode()
        content_by_media_type[media_type] = media_type_object
    return {200: {"content": content_by_media_type}, **openapi_problem_responses(TooManyRequests)}


def _build_example_item(model: type[BaseModel]) -> BaseModel | None:
    """Return an instance of the model, built from the documented examples of its fields.

    Returns None if a required field does not have an example. A test reports such fields, and the
    service still starts.
    """
    schema = model.model_json_schema(mode="serialization")
    try:
        example_values = build_example(schema, schema.get("$defs", {}))
    except MissingExample:
        return None
    return model.model_validate(example_values)


class StreamingService(Protocol):
    """A service that can read a list of any length, one batch of items after the other."""

    def stream(self, query: ListQuery, /) -> AsyncIterator[list[Any]]:
        """Yield all items that match the filters of the query, in batches."""


async def stream_list(
    request: Request,
    media_type: str,
    query: ListQuery,
    item_model: type[BaseModel],
    create_service: Callable[[Session], StreamingService],
) -> StreamingResponse:
    """Return a response that streams a whole list to the client, for example as a CSV file.

    Raises `InvalidRequest` if the query asks for one page of the list, for example with `page=2`,
    `TooManyRequests` if the caller has too many streams, and `Overloaded` if all callers together
    have too many.

    Args:
        request: The request for the list.
        media_type: The media type of the response: "text/csv" or "application/x-ndjson".
        query: The filters and the sort order of the list.
        item_model: The class of the items in the list.
        create_service: Creates the service that reads the items from the database.
    """
    _reject_page_parameters(query)
    writer = create_writer(STREAM_FORMATS[media_type], item_model)
    resources = http_resources(request)
    caller = identify_caller(request)
    file_chunks = _read_file_chunks(resources.database, caller, writer, query, create_service)
    settings = resources.settings
    minimum_rate = MinimumRate(settings.min_stream_rate, grace_seconds=settings.request_timeout)
    limits = StreamLimits(settings.stream_timeout, minimum_rate)

    if request_state(request.scope).is_head:
        # The response to a HEAD request has no body, so the database is not queried.
        return CursorResponse(None, file_chunks, media_type, limits)

    # Run the query before the response starts. If it fails, the client can still get an error
    # response. After the first chunk, the status 200 has already been sent.
    first_chunk = await anext(file_chunks)
    return CursorResponse(first_chunk, file_chunks, media_type, limits)


def _reject_page_parameters(query: ListQuery) -> None:
    """Raise `InvalidRequest` if the client sent a parameter such as `page` for a whole list."""
    detail = "Must not be sent, because the response contains the whole list and not a page"
    field_errors = [
        FieldError(parameter=name, code="no_pages", detail=detail)
        for name in sorted(query.model_fields_set & PAGE_PARAMETERS)
    ]
    if field_errors:
        raise InvalidRequest(*field_errors)


async def _read_file_chunks(
    database: Database,
    caller: Caller,
    writer: LineWriter,
    query: ListQuery,
    create_service: Callable[[Session], StreamingService],
) -> AsyncGenerator[bytes, None]:
    """Read a list from the database, and yield it as the chunks of a file.

    Each chunk has the lines of one batch of items. The first one begins with the header of the
    file, for example the column names of CSV.
    """
    unsent_header = writer.header
    async with database.streaming_transaction(caller) as session:
        async for items in create_service(session).stream(query):
            yield unsent_header + writer.format_lines(items)
            unsent_header = b""
    # The file of an empty list consists of the header only. For other lists, this chunk is empty.
    yield unsent_header
