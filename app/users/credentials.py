"""Whose password it is: slow to answer, and slower with every wrong one."""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import sqlalchemy as sa
from pydantic import SecretStr

from app.core.errors import TooManyRequests
from app.core.sessions import Session
from app.users.passwords import Passwords, Place
from app.users.repository import LoginFailureRepository, UserRepository
from app.users.schemas import normalized

IPV6_NETWORK: Final = 64  # bits; whoever has one address has the network


class Credentials:
    """Checks passwords. An attempt counts as a failure before it is checked, so that no number of
    them at once gets more guesses than one after the other; a success takes it back."""

    def __init__(self, session: Session, passwords: Passwords) -> None:
        self._users, self._failures = UserRepository(session), LoginFailureRepository(session)
        self._passwords = passwords

    async def verify(
        self, email: str, password: SecretStr, address: str | None = None
    ) -> sa.Row[Any] | None:
        """The id and the hash of the user whose email and password they are.

        Whether there is such a user neither the answer tells nor the time that it takes.
        """
        name = normalized(email) or email
        kinds = {"account": name, "address": _network(address)}
        names = {kind: given for kind, given in kinds.items() if given}
        with self._passwords.place() as place:  # or else nothing is counted
            if seconds := await self._failures.count(names):
                raise TooManyRequests(seconds)
            if found := await self._user(place, name, password):
                await self._failures.forget(names)
        return found

    async def _user(self, place: Place, email: str, password: SecretStr) -> sa.Row[Any] | None:
        user = await self._users.credentials(email)
        correct, better = await place.verify(password, user.password_hash if user else None)
        if user is None or not correct:
            return None
        if better is None:
            return user
        if kept := await self._users.rehash(user.id, user.password_hash, better):
            return kept
        # Another log-in has been first with a better hash, or the password has been changed.
        return await self._user(place, email, password)


def _network(address: str | None) -> str | None:
    """What one client can send from; a name, as of a test's, is taken as it is."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    network = IPv6Network((int(found), IPV6_NETWORK), strict=False)
    return str(found.ipv4_mapped or network)
