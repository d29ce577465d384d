"""The limit of registrations from each network, and the early check of the email."""

from hashlib import sha256
from typing import Final

from app.core.client_network import determine_client_network
from app.core.db import Session
from app.users.attempt_counters import AttemptCounterRepository, AttemptLimit
from app.users.errors import EmailTaken, TooManyRegistrations
from app.users.repository import UserRepository

SECONDS_PER_HOUR: Final = 3600


class RegistrationGuard:
    """Refuses a registration before its password is hashed, which is the expensive part.

    The session must commit each statement by itself, even if the registration has an
    Idempotency-Key. A registration that is rolled back still counts, and no database connection is
    held while the password is hashed.
    """

    def __init__(
        self, session: Session, registrations_per_hour: int, client_address: str | None
    ) -> None:
        """Create a guard for one request.

        Args:
            session: Executes the statements, each in its own transaction.
            registrations_per_hour: How many registrations a network may send in an hour.
            client_address: The IP address of the client, or None if it is unknown.
        """
        self._users = UserRepository(session)
        self._counters = AttemptCounterRepository(session)
        self._limit = AttemptLimit(
            burst=registrations_per_hour,
            seconds_per_attempt=SECONDS_PER_HOUR / registrations_per_hour,
        )
        self._network = determine_client_network(client_address) or "unknown"

    async def count_registration(self) -> None:
        """Count a registration. Raises `TooManyRegistrations` if its network has sent too many.

        A registration that fails because the email is taken also counts, so that a network can
        find out only for a limited number of emails whether they belong to users.
        """
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
