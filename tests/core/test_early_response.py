"""Responses that begin before the whole request body has arrived, on other servers than ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.core.server import EarlyResponseMiddleware
from app.core.server._early_response import MAX_DRAINED_BYTES

PART_BYTES = 2**20
PART = {"type": "http.request", "body": b"x" * PART_BYTES, "more_body": True}
LAST_PART = {"type": "http.request", "body": b"x", "more_body": False}
DISCONNECT = {"type": "http.disconnect"}
START = {"type": "http.response.start", "status": 415, "headers": []}
BODY = {"type": "http.response.body", "body": b"no"}


async def respond_early(
    received: Iterator[dict[str, Any]], method: str = "POST", headers: Any = ()
) -> list[str]:
    """Send a response without reading the body. Return what the server sees, in order."""
    events: list[str] = []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)

    async def receive() -> Any:
        events.append("read")
        return next(received)

    async def send(message: Any) -> None:
        events.append("start" if message == START else "end")

    scope = {"type": "http", "method": method, "headers": list(headers)}
    await EarlyResponseMiddleware(application)(scope, receive, send)
    return events


@pytest.mark.parametrize("last", [LAST_PART, DISCONNECT])
async def test_response_ends_after_the_request(last: dict[str, Any]) -> None:
    assert await respond_early(iter([PART, last])) == ["start", "read", "read", "end"]


async def test_request_that_is_too_long_is_not_read_to_its_end() -> None:
    events = await respond_early(PART for _ in range(MAX_DRAINED_BYTES))
    assert events.count("read") == MAX_DRAINED_BYTES // PART_BYTES
    assert events[-1] == "end"


async def test_client_that_waits_for_permission_to_send_is_not_asked() -> None:
    headers = [(b"expect", b"100-continue")]
    assert await respond_early(iter([]), headers=headers) == ["start", "end"]


async def test_body_of_a_get_request_is_not_read() -> None:
    assert await respond_early(iter([]), method="GET") == ["start", "end"]
