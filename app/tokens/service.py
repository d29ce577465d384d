"""Log in, authenticate, list and revoke tokens."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from app.core.access import Principal
from app.core.db import DATABASE_AND_OS_ERRORS, Database, Session
from app.core.errors import Conflict, ServiceError, Unauthorized
from app.core.paging import Page, PageQuery
from app.tokens import secret
from app.tokens.repository import TokenRepository
from app.tokens.schemas import AccessToken, LogIn, TokenRead
from app.users.credentials import CredentialVerifier
from app.users.login_failures import LoginFailureRepository


async def find_principal(database: Database, token: str) -> Principal | None:
    """Return the user of a token as a principal, or None if the token is not valid.

    Every request with a token calls this function. It executes one statement, and a second one only
    if the token has not been used in the last few minutes.
    """
    digest = secret.token_digest(token)
    if digest is None:
        return None
    owner = await TokenRepository(database.reads).find_owner(digest)
    if owner is None:
        return None
    if owner.last_use_is_outdated:
        # The time of the last use is only informative, so a failure to record it is ignored.
        with suppress(ServiceError, *DATABASE_AND_OS_ERRORS):
            await TokenRepository(database.writes).record_use(owner.token_id)
    return Principal(owner.role, owner.user_id, owner.token_id)


class LoginService:
    """Logs users in: verifies an email and a password, and creates an access token.

    `token_ttl` is the lifetime of a token in seconds.
    """

    def __init__(self, session: Session, verifier: CredentialVerifier, token_ttl: int) -> None:
        self._repository = TokenRepository(session)
        self._verifier = verifier
        self._token_ttl = token_ttl

    async def create(
        self, login: LogIn, token_name: str, client_address: str | None
    ) -> tuple[UUID, AccessToken]:
        """Create a token for the user with this email and password. Return its id and the token.

        Wrong passwords are counted for the account, and also for the client if its address is
        known.

        Raises `Unauthorized` if the email or the password is wrong, `TooManyFailedLogins` after
        too many wrong passwords, and `Conflict` if the password changes at the same time.
        """
        credentials = await self._verifier.verify(login.username, login.password, client_address)
        if credentials is None:
            raise Unauthorized("Wrong email or password")
        token = secret.generate_token()
        token_id = uuid7()
        columns = {
            "id": token_id,
            "name": token_name,
            "digest": secret.token_digest(token),
            "expires_at": datetime.now(UTC) + timedelta(seconds=self._token_ttl),
        }
        is_created = await self._repository.create_if_password_unchanged(
            columns, credentials.id, credentials.password_hash
        )
        if not is_created:
            raise Conflict("The password was changed at the same time")
        access_token = AccessToken(
            access_token=token,
            token_type="bearer",  # noqa: S106 - not a password
            expires_in=self._token_ttl,
        )
        return token_id, access_token


class TokenService:
    """Operations on the principal's own tokens."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._principal = principal
        self._repository = TokenRepository(session, principal.owner_filter("oneself"))

    async def page(self, query: PageQuery) -> Page[TokenRead]:
        """Read one page of the principal's tokens."""
        return await self._repository.page(query)

    async def delete(self, id: UUID, expected_versions: list[str] | None = None) -> None:
        """Revoke a token. The next request with it is refused, because tokens are not cached.

        Raises `NotFound` or `PreconditionFailed`.
        """
        await self._repository.delete(id, expected_versions)

    async def delete_current(self, expected_versions: list[str] | None = None) -> None:
        """Revoke the token with which the request was sent.

        Raises `NotFound` or `PreconditionFailed`.
        """
        await self._repository.delete(self._principal.token_id, expected_versions)


class TokenRevocation:
    """Revokes the tokens of any user, for the command line and scheduled jobs.

    Every method that revokes tokens returns their number.
    """

    def __init__(self, session: Session) -> None:
        self._repository = TokenRepository(session)
        self._login_failures = LoginFailureRepository(session)

    async def revoke_by_user(self, user_id: int) -> int:
        """Revoke all tokens of a user."""
        return await self._repository.delete_where_in("user_id", [user_id])

    async def revoke_by_id(self, id: UUID) -> int:
        """Revoke one token."""
        return await self._repository.delete_where_in("id", [id])

    async def revoke_leaked(self, text: str) -> int:
        """Revoke all tokens that occur anywhere in a text, such as a log."""
        digests = []
        for token in secret.TOKEN_PATTERN.findall(text):
            digest = secret.token_digest(token)
            # None for a text whose checksum is wrong.
            if digest is not None:
                digests.append(digest)
        return await self._repository.delete_where_in("digest", digests)

    async def delete_expired(self) -> str:
        """Delete expired tokens and expired counters of failed logins.

        Returns a text with their numbers for the log.
        """
        tokens = await self._repository.delete_expired()
        failures = await self._login_failures.delete_expired()
        return f"{tokens} expired tokens, {failures} expired login failures"
