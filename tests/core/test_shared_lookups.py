"""Lookups of concurrent callers that share a call, and what happens if some of them fail."""

import asyncio
from collections.abc import Collection, Mapping
from contextvars import ContextVar

import pytest

from app.core.shared_lookups import SharedLookups

USER: ContextVar[str] = ContextVar("user", default="nobody")


class Squares:
    """Looks up the squares of positive numbers, and records the calls."""

    def __init__(self) -> None:
        self.calls: list[set[int]] = []
        self.contexts: list[str] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None
        self.lookups = SharedLookups(self.look_up)

    async def look_up(self, numbers: Collection[int]) -> Mapping[int, int]:
        self.calls.append(set(numbers))
        self.contexts.append(USER.get())
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return {number: number**2 for number in numbers if number > 0}

    async def wait_for_call(self, number_of_calls: int) -> None:
        while len(self.calls) < number_of_calls:
            await asyncio.sleep(0)


@pytest.fixture
async def squares() -> Squares:
    return Squares()


async def test_keys_of_the_same_iteration_share_one_call(squares: Squares) -> None:
    get = squares.lookups.get
    values = await asyncio.gather(get(2), get(3), get(2), get(-1))
    assert list(values) == [4, 9, 4, None]
    assert squares.calls == [{2, 3, -1}]


async def test_keys_of_different_iterations_have_calls_of_their_own(squares: Squares) -> None:
    assert [await squares.lookups.get(2), await squares.lookups.get(3)] == [4, 9]
    assert squares.calls == [{2}, {3}]


async def test_key_that_is_requested_during_a_call_does_not_get_its_result(
    squares: Squares,
) -> None:
    squares.may_end.clear()
    first = asyncio.create_task(squares.lookups.get(2))
    await squares.wait_for_call(1)
    second = asyncio.create_task(squares.lookups.get(2))
    await squares.wait_for_call(2)
    squares.may_end.set()
    assert [await first, await second] == [4, 4]


async def test_all_callers_of_a_call_that_fails_get_its_error(squares: Squares) -> None:
    squares.error = ZeroDivisionError("no square")
    callers = [asyncio.create_task(squares.lookups.get(number)) for number in (2, 3)]
    await asyncio.wait(callers)
    assert [caller.exception() for caller in callers] == [squares.error] * 2
    squares.error = None
    assert await squares.lookups.get(2) == 4


async def test_call_continues_when_its_first_caller_is_cancelled(squares: Squares) -> None:
    squares.may_end.clear()
    callers = [asyncio.create_task(squares.lookups.get(number)) for number in (2, 3)]
    await squares.wait_for_call(1)
    callers[0].cancel()
    squares.may_end.set()
    assert await callers[1] == 9
    assert callers[0].cancelled()


async def test_error_of_a_call_without_callers_is_ignored(squares: Squares) -> None:
    squares.may_end.clear()
    squares.error = ZeroDivisionError("no square")
    caller = asyncio.create_task(squares.lookups.get(2))
    await squares.wait_for_call(1)
    caller.cancel()
    squares.may_end.set()
    await asyncio.wait([caller])
    squares.error = None
    assert await squares.lookups.get(3) == 9


async def test_callers_are_cancelled_with_the_call(squares: Squares) -> None:
    squares.may_end.clear()
    caller = asyncio.create_task(squares.lookups.get(2))
    await squares.wait_for_call(1)
    [call] = squares.lookups._tasks
    call.cancel()
    await asyncio.wait([caller, call])
    assert caller.cancelled()


async def test_call_has_the_context_of_none_of_its_callers(squares: Squares) -> None:
    USER.set("ada")
    assert await squares.lookups.get(2) == 4
    assert squares.contexts == ["nobody"]
