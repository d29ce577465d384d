"""The limits on what a caller does at the same time, and the clock of slow clients."""

from contextlib import ExitStack

import pytest

from app.core.caller_limits import Caller, CallerLimits
from app.core.errors import Overloaded, TooManyRequests
from app.core.transfer_clock import MinimumRate, TransferClock

GRACE_SECONDS = 30.0
RATE = 8 * 1024


@pytest.fixture
def limits() -> CallerLimits:
    return CallerLimits("uploads", total=5, per_network=3, per_user=2)


@pytest.fixture
def clock() -> TransferClock:
    return TransferClock(MinimumRate(RATE, GRACE_SECONDS))


def test_user_is_limited_in_all_networks(limits: CallerLimits) -> None:
    with limits.reserve(Caller(1, "a")), limits.reserve(Caller(1, "b")):
        with (
            pytest.raises(TooManyRequests, match="uploads of your user"),
            limits.reserve(Caller(1, "c")),
        ):
            pass
        with limits.reserve(Caller(2, "c")):
            pass


def test_network_is_limited_for_all_of_its_users(limits: CallerLimits) -> None:
    with ExitStack() as stack:
        for user_id in (None, 1, 2):
            stack.enter_context(limits.reserve(Caller(user_id, "a")))
        with (
            pytest.raises(TooManyRequests, match="uploads of your network"),
            limits.reserve(Caller(3, "a")),
        ):
            pass
        with limits.reserve(Caller(3, "b")):
            pass


def test_total_is_limited_for_callers_of_unknown_networks(limits: CallerLimits) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(limits.reserve(Caller()))
        with (
            pytest.raises(Overloaded, match="uploads of all users"),
            limits.reserve(Caller(1, "a")),
        ):
            pass


def test_amounts_are_limited_instead_of_requests(limits: CallerLimits) -> None:
    with (
        limits.reserve(Caller(1), amount=2),
        pytest.raises(TooManyRequests),
        limits.reserve(Caller(1), amount=1),
    ):
        pass


def test_refused_and_failed_activities_do_not_count(limits: CallerLimits) -> None:
    caller = Caller(1, "a")
    for _ in range(10):
        with pytest.raises(TooManyRequests), limits.reserve(caller, amount=3):
            pass
        with pytest.raises(ZeroDivisionError), limits.reserve(caller, amount=2):
            raise ZeroDivisionError
    with limits.reserve(caller, amount=2):
        pass


def test_client_at_minimum_rate_never_runs_out(clock: TransferClock) -> None:
    for _ in range(1000):
        clock.record(waited_seconds=1.0, size=RATE)
    assert clock.remaining_seconds == GRACE_SECONDS


def test_client_at_half_the_minimum_rate_runs_out_after_twice_the_grace_period(
    clock: TransferClock,
) -> None:
    seconds = 0
    while not clock.has_run_out:
        clock.record(waited_seconds=1.0, size=RATE // 2)
        seconds += 1
    assert seconds == 2 * GRACE_SECONDS


def test_fast_beginning_does_not_pay_for_a_longer_pause(clock: TransferClock) -> None:
    clock.record(waited_seconds=0.0, size=10**9)
    clock.record(waited_seconds=GRACE_SECONDS, size=0)
    assert clock.has_run_out


def test_bursts_in_intervals_below_the_grace_period_run_out(clock: TransferClock) -> None:
    clock.record(waited_seconds=29.0, size=64 * 1024)
    assert clock.remaining_seconds == 9.0
    clock.record(waited_seconds=29.0, size=64 * 1024)
    assert clock.has_run_out
