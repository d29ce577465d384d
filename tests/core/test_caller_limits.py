"""The limits on what callers do at the same time."""

from contextlib import ExitStack

import pytest

from app.core.caller_limits import Caller, CallerLimits
from app.core.errors import Overloaded, ServiceError, TooManyRequests


@pytest.fixture
def limits() -> CallerLimits:
    return CallerLimits("uploads", total=5, per_network=3, per_user=2)


def check_refused(
    limits: CallerLimits, caller: Caller, error_class: type[ServiceError], detail: str
) -> None:
    """Check that a caller cannot begin an activity. `detail` is a part of the error's text."""
    with pytest.raises(error_class, match=detail), limits.reserve(caller):
        pass


def test_user_is_limited_in_all_networks(limits: CallerLimits) -> None:
    with limits.reserve(Caller(1, "a")), limits.reserve(Caller(1, "b")):
        check_refused(limits, Caller(1, "c"), TooManyRequests, "uploads of your user")
        with limits.reserve(Caller(2, "c")):
            pass


def test_network_is_limited_for_all_of_its_users(limits: CallerLimits) -> None:
    with ExitStack() as stack:
        for user_id in (None, 1, 2):
            stack.enter_context(limits.reserve(Caller(user_id, "a")))
        check_refused(limits, Caller(3, "a"), TooManyRequests, "uploads of your network")
        with limits.reserve(Caller(3, "b")):
            pass


def test_total_is_limited_for_callers_of_unknown_networks(limits: CallerLimits) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(limits.reserve(Caller()))
        check_refused(limits, Caller(1, "a"), Overloaded, "uploads of all users")


def test_amounts_are_limited_instead_of_requests(limits: CallerLimits) -> None:
    with limits.reserve(Caller(1), amount=2):
        check_refused(limits, Caller(1), TooManyRequests, "uploads of your user")


def test_refused_and_failed_activities_do_not_count(limits: CallerLimits) -> None:
    caller = Caller(1, "a")
    for _ in range(10):
        with pytest.raises(TooManyRequests), limits.reserve(caller, amount=3):
            pass
        with pytest.raises(ZeroDivisionError), limits.reserve(caller, amount=2):
            raise ZeroDivisionError
    with limits.reserve(caller, amount=2):
        pass
