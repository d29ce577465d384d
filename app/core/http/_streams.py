"""Whole lists as JSON lines or CSV, streamed from a database cursor in constant memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.core.db import Database, Session
from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.formats import LineWriter, create_writer
from app.core.http._accept import STREAM_FORMATS
from app.core.http._examples import MissingExample, build_example
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources
from app.core.http._stream_response import CursorResponse
from app.core.paging import PAGE_PARAMETERS, ListQuery


def openapi_stream_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a list that can also be streamed as JSON lines or CSV.

    Raises `TypeError` if the model cannot be written as CSV.
    """
    content: dict[str, dict[str, Any]] = {}
    for media_type, file_format in STREAM_FORMATS.items():
        writer = create_writer(file_format, model)
        description = f"One {model.__name__} per line. CSV begins with a line of column names"
        content[media_type] = {
            "schema": {"type": "string", "format": "binary", "description": description}
        }
        item = _example_item(model)
        # A test finds missing examples. The service starts without them.
        if item is not None:
            lines = writer.header + writer.format_lines([item])
            content[media_type]["example"] = lines.decode()
    return {200: {"content": content}}


def _example_item(model: type[BaseModel]) -> BaseModel | None:
    """Return a model with the example values of its fields, or None if a field has no example."""
    schema = model.model_json_schema(mode="serialization")
    try:
        values = build_example(schema, schema.get("$defs", {}))
    except MissingExample:
        return None
    return model.model_validate(values)


class StreamingService(Protocol):
    """A service whose list can be streamed."""

    def stream(self, query: ListQuery, /) -> AsyncIterator[list[Any]]:
        """Yield the items that a query selects, in batches."""


async def stream_list(
    request: Request,
    media_type: str,
    query: ListQuery,
    model: type[BaseModel],
    create_service: Callable[[Session], StreamingService],
) -> StreamingResponse:
    """Return a response that streams all items that a query selects.

    Raises `InvalidRequest` if the query has parameters of a page, which a stream does not have.

    Args:
        request: The request for the list.
        media_type: The media type that `preferred_stream_type` has returned.
        query: The filters and the sort order of the list.
        model: The class of the items.
        create_service: Creates the service that reads the items, usually the class itself.
    """
    page_parameters = sorted(query.model_fields_set & PAGE_PARAMETERS)
    if page_parameters:
        detail = "Must not be sent, because a stream has no pages"
        field_errors = [
            FieldError(parameter=name, code="no_pages", detail=detail) for name in page_parameters
        ]
        raise InvalidRequest(*field_errors)
    writer = create_writer(STREAM_FORMATS[media_type], model)
    chunks = _read_chunks(http_resources(request).database, writer, query, create_service)
    first_chunk = None
    if not request_state(request.scope).is_head:
        # Reading the first rows here gives an error of the query its own response. Later, the
        # status 200 has been sent already.
        first_chunk = await anext(chunks)
    return CursorResponse(first_chunk, chunks, media_type)


async def _read_chunks(
    database: Database,
    writer: LineWriter,
    query: ListQuery,
    create_service: Callable[[Session], StreamingService],
) -> AsyncGenerator[bytes, None]:
    """Yield the file in chunks: the header with the first lines, then the other lines.

    The header of an empty list is a chunk of its own.
    """
    header = writer.header
    async with database.streaming_transaction() as session:
        async for items in create_service(session).stream(query):
            yield header + writer.format_lines(items)
            header = b""
    yield header
