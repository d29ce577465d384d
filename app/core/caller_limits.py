"""Limits on what callers do at the same time, so that one caller cannot deny it to the others.

Only the event loop changes the numbers, so they need no lock.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.errors import Overloaded, TooManyRequests

# The kind of an owner, "user" or "network", and its id or address.
_Owner = tuple[str, int | str]


@dataclass(frozen=True)
class Caller:
    """The sender of a request, as limits see it.

    Args:
        user_id: The user of the token, or None without a token.
        network: The network of the client, for example `192.0.2.1` or `2001:db8::/56`. None if it
            is unknown, for example behind a Unix socket.
    """

    user_id: int | None = None
    network: str | None = None


class CallerLimits:
    """Limits the use of something that all callers of this process share, such as uploads.

    A user may have a part of the total, and all clients of a network together a larger part. A
    caller without a token is limited by the network only.
    """

    def __init__(self, activity: str, *, total: int, per_network: int, per_user: int) -> None:
        """Create the limits. Nothing is in use yet.

        Args:
            activity: The name of the activity in errors for clients, for example "uploads".
            total: How much all callers together may use.
            per_network: How much the clients of one network may use.
            per_user: How much one user may use.
        """
        self._activity = activity
        self._total = total
        self._per_network = per_network
        self._per_user = per_user
        # How much each user and each network uses, such as `{("user", 7): 2}`. Only those who use
        # something have an entry.
        self._used_by_owner: Counter[_Owner] = Counter()
        self._used = 0

    @contextmanager
    def reserve(self, caller: Caller, amount: int = 1) -> Iterator[None]:
        """Count an activity of a caller as long as the block runs.

        Raises `TooManyRequests` if the user or the network would exceed their part, and
        `Overloaded` if all callers together would exceed the total.

        Args:
            caller: The sender of the request.
            amount: How much the activity uses: 1 for an upload, or the size of a body in bytes.
        """
        limits_by_owner: dict[_Owner, int] = {}
        if caller.user_id is not None:
            limits_by_owner["user", caller.user_id] = self._per_user
        if caller.network is not None:
            limits_by_owner["network", caller.network] = self._per_network

        for owner, limit in limits_by_owner.items():
            if self._used_by_owner[owner] + amount > limit:
                owner_kind = owner[0]
                raise TooManyRequests(
                    f"Too many {self._activity} of your {owner_kind} are in progress. Retry later."
                )
        if self._used + amount > self._total:
            raise Overloaded(
                f"Too many {self._activity} of all users together are in progress. Retry later."
            )

        self._add(limits_by_owner, amount)
        try:
            yield
        finally:
            self._add(limits_by_owner, -amount)

    def _add(self, owners: Iterable[_Owner], amount: int) -> None:
        """Add an amount to what these owners use."""
        self._used += amount
        for owner in owners:
            self._used_by_owner[owner] += amount
            if self._used_by_owner[owner] == 0:
                del self._used_by_owner[owner]
