"""The minimum rate of bodies counts only the time for which the server waits for the client."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.core.errors import RequestTimeout
from app.core.server import Shutdown
from app.core.server import _timed_request as timed_request
from app.core.transfer_clock import MinimumRate
from tests.support.streamed_lists import asgi_scope

GRACE_SECONDS = 30.0
PART: Message = {"type": "http.request", "body": bytes(64 * 1024), "more_body": True}
END: Message = {"type": "http.request", "body": b"", "more_body": False}


class SimulatedClock:
    """A clock that advances only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    clock = SimulatedClock()
    monkeypatch.setattr(timed_request, "monotonic", clock.monotonic)
    return clock


async def run_request(
    clock: SimulatedClock, *, client_seconds: float, handler_seconds: float
) -> list[float]:
    """Receive ten parts of a body. Return how long each of them may still take, and the end.

    Args:
        clock: The clock of the request.
        client_seconds: How long the client takes for each part.
        handler_seconds: How long the handler works after each part, for example with the store.
    """
    messages = iter([PART] * 10 + [END])
    seconds_to_deadline = []

    async def receive() -> Message:
        seconds_to_deadline.append(request.deadline - clock.now)
        clock.now += client_seconds
        return next(messages)

    async def send(_message: Message) -> None:
        pass

    async def read_body(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["more_body"]:
            clock.now += handler_seconds

    minimum_rate = MinimumRate(8 * 1024, GRACE_SECONDS)
    request = timed_request.TimedRequest(asgi_scope("/"), receive, send, minimum_rate, Shutdown())
    await request.run(read_body)
    return seconds_to_deadline


async def test_client_is_not_blamed_for_a_slow_handler(clock: SimulatedClock) -> None:
    seconds = await run_request(clock, client_seconds=1.0, handler_seconds=1000.0)
    assert seconds == [GRACE_SECONDS] * 11


async def test_client_above_minimum_rate_may_take_any_time(clock: SimulatedClock) -> None:
    await run_request(clock, client_seconds=8.0, handler_seconds=0.0)
    assert clock.now > 2 * GRACE_SECONDS


async def test_client_below_minimum_rate_has_less_time_for_each_part(clock: SimulatedClock) -> None:
    # At the minimum rate, a part would take eight seconds.
    seconds = await run_request(clock, client_seconds=10.0, handler_seconds=0.0)
    assert seconds == [GRACE_SECONDS - 2.0 * part_count for part_count in range(11)]


async def test_client_that_has_used_up_its_time_is_408(clock: SimulatedClock) -> None:
    with pytest.raises(RequestTimeout):
        await run_request(clock, client_seconds=29.0, handler_seconds=0.0)
    assert clock.now == 2 * 29.0
