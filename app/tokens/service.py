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
from app.users.repository import LoginFailureRepository


async def find_principal(database: Database, token: str) -> Principal | None:
    """Return the user of a token as a principal, or None if the token is not valid.

    Every request with a token executes this, so it takes one statement, and a second one only if
    the token has not been used in the last minutes.
    """
    digest = secret.token_digest(token)
    if digest is None:
        return None
    bearer = await TokenRepository(database.reads).bearer(digest)
    if bearer is None:
        return None
    if bearer["unused"]:
        # The time of the last use is only informative, so the request goes on without it.
        with suppress(ServiceError, *DATABASE_AND_OS_ERRORS):
            await TokenRepository(database.writes).use(bearer["id"])
    return Principal(bearer["role"], bearer["user_id"], bearer["id"])


class LoginService:
    """Issues tokens for passwords. `token_ttl` is in seconds."""

    def __init__(self, session: Session, verifier: CredentialVerifier, token_ttl: int) -> None:
        self._tokens = TokenRepository(session)
        self._verifier = verifier
        self._token_ttl = token_ttl

    async def create(self, data: LogIn, address: str | None) -> tuple[UUID, AccessToken]:
        """Issue a token to the client at this address. Return the id of the token as well.

        Raises `Unauthorized` if the email or the password is wrong, `TooManyFailedLogins` after
        too many wrong passwords, and `Conflict` if the password changes at the same time.
        """
        credentials = await self._verifier.verify(data.username, data.password, address)
        if credentials is None:
            raise Unauthorized("Wrong email or password")
        token = secret.generate_token()
        token_id = uuid7()
        columns = {
            "id": token_id,
            "name": data.name,
            "digest": secret.token_digest(token),
            "expires_at": datetime.now(UTC) + timedelta(seconds=self._token_ttl),
        }
        issued = await self._tokens.issue(columns, credentials.id, credentials.password_hash)
        if not issued:
            raise Conflict
        access_token = AccessToken(
            access_token=token,
            token_type="bearer",  # noqa: S106 - the name of a scheme
            expires_in=self._token_ttl,
        )
        return token_id, access_token


class TokenService:
    """Operations on the principal's own tokens."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._principal = principal
        self._tokens = TokenRepository(session, principal.owner_filter("oneself"))

    async def page(self, query: PageQuery) -> Page[TokenRead]:
        """Read one page of the tokens."""
        return await self._tokens.page(query)

    async def delete(self, id: UUID, expected_versions: list[str] | None = None) -> None:
        """Revoke a token. It stops working with the next request, because tokens are not cached.

        Raises `NotFound` or `PreconditionFailed`.
        """
        await self._tokens.delete(id, expected_versions)

    async def delete_current(self, expected_versions: list[str] | None = None) -> None:
        """Revoke the token of the request itself. Raises `NotFound` or `PreconditionFailed`."""
        await self._tokens.delete(self._principal.token_id, expected_versions)


class TokenRevocation:
    """Revokes the tokens of any user, for the command line and scheduled jobs.

    Every method that revokes returns the number of tokens.
    """

    def __init__(self, session: Session) -> None:
        self._tokens = TokenRepository(session)
        self._failures = LoginFailureRepository(session)

    async def revoke_by_user(self, user_id: int) -> int:
        """Revoke all tokens of a user."""
        return await self._tokens.revoke("user_id", [user_id])

    async def revoke_by_id(self, id: UUID) -> int:
        """Revoke one token."""
        return await self._tokens.revoke("id", [id])

    async def revoke_leaked(self, text: str) -> int:
        """Revoke all tokens that occur anywhere in a text, such as a log."""
        digests = [secret.token_digest(token) for token in secret.TOKEN_PATTERN.findall(text)]
        return await self._tokens.revoke("digest", [digest for digest in digests if digest])

    async def delete_expired(self) -> str:
        """Delete expired tokens and login failures. Return a sentence with their numbers."""
        tokens = await self._tokens.forget_expired()
        failures = await self._failures.delete_expired()
        return f"{tokens} expired tokens, {failures} old failures to log in"
