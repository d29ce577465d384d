"""The limit of registrations and changes of emails from each network."""

from datetime import timedelta
from hashlib import sha256

from app.core.access import ALL, Principal
from app.core.db import Session
from app.users.attempt_counters import UNKNOWN_NETWORK, AttemptCounterRepository, AttemptLimit
from app.users.errors import EmailTaken, TooManyRegistrations
from app.users.repository import UserRepository


class RegistrationGuard:
    """Limits how often a network tries to register an email, or to change one.

    Otherwise, a network could try many emails to find out which of them belong to users. A
    registration is also refused before its password is hashed, which is the expensive part.

    The session must commit each statement by itself, even if the registration has an
    Idempotency-Key. A registration that is rolled back still counts, and no database connection is
    held while the password is hashed.
    """

    def __init__(
        self,
        session: Session,
        registrations_per_hour: int,
        network: str | None,
        principal: Principal,
    ) -> None:
        """Create a guard for one request.

        Args:
            session: Executes the statements, each in its own transaction.
            registrations_per_hour: How many registrations a network may send in an hour.
            network: The network of the client, or None if it is unknown.
            principal: The sender of the request. Those who may change all users are not limited.
        """
        self._users = UserRepository(session)
        self._counters = AttemptCounterRepository(session)
        self._limit = AttemptLimit(
            burst=registrations_per_hour, step=timedelta(hours=1) / registrations_per_hour
        )
        self._network = network or UNKNOWN_NETWORK
        self._principal = principal

    async def count_registration(self) -> None:
        """Count a registration or a change of an email, also if it then fails.

        Raises `TooManyRegistrations` if the network has sent too many of both.
        """
        if self._principal.scope("users") is ALL:
            return
        digest = sha256(self._network.encode()).digest()
        seconds_to_wait = await self._counters.count_attempt("registration", digest, self._limit)
        if seconds_to_wait > 0:
            raise TooManyRegistrations(retry_after=seconds_to_wait)

    async def check_email(self, email: str) -> None:
        """Raise `EmailTaken` if another user has the email.

        Another registration may still take the email afterwards. Then the unique index refuses it.
        """
        if await self._users.find_credentials(email) is not None:
            raise EmailTaken
