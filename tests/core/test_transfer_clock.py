"""The clock that ends the transfers of slow clients."""

import pytest

from app.core.transfer_clock import MinimumRate, TransferClock

GRACE_SECONDS = 30.0
RATE = 8 * 1024


@pytest.fixture
def clock() -> TransferClock:
    return TransferClock(MinimumRate(RATE, GRACE_SECONDS))


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
