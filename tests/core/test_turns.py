"""Turns of callers: one at a time for each caller, and limited queues."""

import asyncio

import pytest

from app.core.caller_limits import Caller, CallerLimits
from app.core.errors import Overloaded, TooManyRequests
from app.core.storage._turns import CallerTurns


class Request:
    """A request that takes a turn until it is released or cancelled."""

    def __init__(self, turns: CallerTurns, user_id: int) -> None:
        self.has_turn = asyncio.Event()
        self.may_end = asyncio.Event()
        self.task = asyncio.create_task(self._run(turns, Caller(user_id)))

    async def _run(self, turns: CallerTurns, caller: Caller) -> None:
        async with turns.take_turn(caller):
            self.has_turn.set()
            await self.may_end.wait()

    async def end(self) -> None:
        self.may_end.set()
        await self.task


def create_turns(*, total: int, per_user: int) -> CallerTurns:
    return CallerTurns(CallerLimits("requests", total=total, per_network=total, per_user=per_user))


async def test_requests_of_a_caller_take_turns_while_other_callers_do_not_wait() -> None:
    turns = create_turns(total=3, per_user=2)
    first, second, other = Request(turns, 1), Request(turns, 1), Request(turns, 2)
    await first.has_turn.wait()
    await other.has_turn.wait()
    assert not second.has_turn.is_set()
    await first.end()
    await second.has_turn.wait()
    await second.end()
    await other.end()


async def test_request_is_refused_when_too_many_requests_of_its_caller_wait() -> None:
    turns = create_turns(total=3, per_user=2)
    first, second, third = [Request(turns, 1) for _ in range(3)]
    with pytest.raises(TooManyRequests):
        await third.task
    await first.end()
    await second.end()
    await Request(turns, 1).has_turn.wait()


async def test_request_is_refused_when_all_callers_together_have_too_many() -> None:
    turns = create_turns(total=1, per_user=1)
    first = Request(turns, 1)
    await first.has_turn.wait()
    with pytest.raises(Overloaded):
        await Request(turns, 2).task
    await first.end()
    await Request(turns, 2).has_turn.wait()


async def test_cancelled_request_gives_its_place_to_another() -> None:
    turns = create_turns(total=2, per_user=2)
    first, waiting = Request(turns, 1), Request(turns, 1)
    await first.has_turn.wait()
    waiting.task.cancel()
    await asyncio.wait({waiting.task})
    next_request = Request(turns, 1)
    await first.end()
    await next_request.has_turn.wait()
    await next_request.end()
