"""Whole lists as lines of JSON or CSV: by a cursor of the server's, in constant memory."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import lru_cache
from typing import Any, Final, Protocol

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app.core.db import Database, Session
from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.formats import Format, create_writer
from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._conditional import MAX_HEADER_LENGTH
from app.core.http._examples import MissingExample, build_example
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources
from app.core.paging import PAGE_PARAMETERS, ListQuery

PATIENCE: Final = 30.0  # seconds that a client may let what is sent lie
ANY_FORMAT: Final = {"Vary": "Accept"}
MEDIA_TYPES: Final[dict[str, Format]] = {"application/x-ndjson": "jsonl", "text/csv": "csv"}
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def stream_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a list that can also be sent as lines.

    Raises `TypeError` if the model cannot be written as CSV.
    """
    content: dict[str, dict[str, Any]] = {}
    for media_type, file_format in MEDIA_TYPES.items():
        writer = create_writer(file_format, model)
        description = f"One {model.__name__} a line; CSV begins with a line of the columns' names"
        content[media_type] = {
            "schema": {"type": "string", "format": "binary", "description": description}
        }
        item = _example_item(model)
        # A document without an example is better than none; a test finds the missing example.
        if item is not None:
            lines = writer.header + writer.format_lines([item])
            content[media_type]["example"] = lines.decode()
    return {200: {"content": content}}


def _example_item(model: type[BaseModel]) -> BaseModel | None:
    """Return a model with the values of its fields' examples, or None if one has none."""
    schema = model.model_json_schema(mode="serialization")
    try:
        values = build_example(schema, schema.get("$defs", {}))
    except MissingExample:
        return None
    return model.model_validate(values)


def preferred_stream_type(request: Request) -> str | None:
    """Return the type of lines that `Accept` prefers to a page of JSON (RFC 9110, 12.5.1)."""
    accept = ",".join(request.headers.getlist("accept"))
    if len(accept) > MAX_HEADER_LENGTH:
        # Long headers are ignored, so that the cache of parsed headers is bounded.
        return None
    return _preferred(accept)


@lru_cache(maxsize=256)
def _preferred(accept: str) -> str | None:
    qualities = dict(map(_quality, accept.lower().split(",")))

    def of(kind: str) -> float:
        group = kind.partition("/")[0] + "/*"
        return qualities.get(kind, qualities.get(group, qualities.get("*/*", 0.0)))

    best = max((JSON_MEDIA_TYPE, *MEDIA_TYPES), key=of)  # the first of equals
    return best if best in MEDIA_TYPES else None


def _quality(media_range: str) -> tuple[str, float]:
    kind, *parameters = (part.strip() for part in media_range.split(";"))
    weights = [value for name, _, value in (p.partition("=") for p in parameters) if name == "q"]
    if weights and not _WEIGHT.fullmatch(weights[0]):
        return kind, 0.0
    return kind, float(weights[0]) if weights else 1.0


class StreamingService(Protocol):
    """A service whose list can be streamed."""

    def stream(self, query: ListQuery, /) -> AsyncIterator[list[Any]]: ...


async def stream_list(
    request: Request,
    media_type: str,
    query: ListQuery,
    model: type[BaseModel],
    service: Callable[[Session], StreamingService],
) -> StreamingResponse:
    """Stream all selected rows. An error before the first rows has its own response."""
    if positions := sorted(query.model_fields_set & PAGE_PARAMETERS):
        detail = "Must not be sent, because a stream has no pages"
        faults = (FieldError(parameter=name, code="no_pages", detail=detail) for name in positions)
        raise InvalidRequest(*faults)
    form = MEDIA_TYPES[media_type]
    rows = _chunks(http_resources(request).database, form, query, model, service)
    first = None if request_state(request.scope).is_head else await anext(rows)
    return _Lines(first, rows, media_type)


async def _chunks(
    database: Database,
    form: Format,
    query: ListQuery,
    model: type[BaseModel],
    service: Callable[[Session], StreamingService],
) -> AsyncGenerator[bytes, None]:
    writer = create_writer(form, model)
    header = writer.header
    async with database.streaming_transaction() as session:
        async for items in service(session).stream(query):
            yield header + writer.format_lines(items)
            header = b""
    yield header


class _Lines(StreamingResponse):
    """Sends what is there already and then the rest; gives the connection back however it ends."""

    def __init__(
        self, first: bytes | None, rest: AsyncGenerator[bytes, None], media_type: str
    ) -> None:
        self._first = first
        self._rest = rest
        super().__init__(self._all(), 200, ANY_FORMAT, media_type)

    async def _all(self) -> AsyncIterator[bytes]:
        if self._first is not None:
            yield self._first
            async for chunk in self._rest:
                yield chunk

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        # Not in a task group, as the base does it: when that is cancelled so is every later await,
        # that of the driver among them which tells the server to stop a FETCH.
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            done, _ = await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if sending not in done:
            raise ClientDisconnect
        sending.result()

    async def stream_response(self, send: Send) -> None:
        async def patiently(message: Message) -> None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        try:
            await super().stream_response(patiently)
        finally:
            await self._rest.aclose()
