"""The rules of tokens: log in, say who bears one, revoke."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from app.core.access import Principal
from app.core.db import FAILURES, Database, Session
from app.core.errors import Conflict, ServiceError, Unauthorized
from app.core.paging import Page, PageQuery
from app.tokens import secret
from app.tokens.repository import TokenRepository
from app.tokens.schemas import AccessToken, LogIn, TokenRead
from app.users.credentials import CredentialVerifier
from app.users.repository import LoginFailureRepository


async def find_principal(database: Database, token: str) -> Principal | None:
    """Who bears a token; `None` when it is no valid one. One statement, for every request."""
    digest = secret.digest(token)
    bearer = digest and await TokenRepository(database.reads).bearer(digest)
    if not bearer:
        return None
    if bearer["unused"]:
        with suppress(ServiceError, *FAILURES):  # it is a note, not what was asked for
            await TokenRepository(database.writes).use(bearer["id"])
    return Principal(bearer["role"], bearer["user_id"], bearer["id"])


class LogInService:
    """Tokens for passwords."""

    def __init__(self, session: Session, verifier: CredentialVerifier, ttl: int) -> None:
        self._tokens = TokenRepository(session)
        self._verifier = verifier
        self._ttl = ttl

    async def create(self, data: LogIn, address: str | None) -> tuple[UUID, AccessToken]:
        """The id of a new token, and the token."""
        credentials = await self._verifier.verify(data.username, data.password, address)
        if credentials is None:
            raise Unauthorized("Wrong email or password")
        token, key = secret.new(), uuid7()
        values = {
            "id": key,
            "name": data.name,
            "digest": secret.digest(token),
            "expires_at": datetime.now(UTC) + timedelta(seconds=self._ttl),
        }
        if not await self._tokens.issue(values, credentials.id, credentials.password_hash):
            raise Conflict
        kind = "bearer"
        return key, AccessToken(access_token=token, token_type=kind, expires_in=self._ttl)


class TokenService:
    """One's own tokens."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._principal = principal
        self._tokens = TokenRepository(session, principal.only("oneself"))

    async def page(self, query: PageQuery) -> Page[TokenRead]:
        return await self._tokens.page(query)

    async def delete(self, key: UUID | None, versions: list[int] | None) -> None:
        """Revoke one, or the one that is in use; at once, for nobody remembers tokens."""
        await self._tokens.delete(key or self._principal.token_id, versions)


class Revocation:
    """Anybody's tokens, for the command line and the jobs; each tells how many went."""

    def __init__(self, session: Session) -> None:
        self._tokens, self._failures = TokenRepository(session), LoginFailureRepository(session)

    async def of_user(self, user_id: int) -> int:
        return await self._tokens.revoke("user_id", [user_id])

    async def by_id(self, key: UUID) -> int:
        return await self._tokens.revoke("id", [key])

    async def leaked(self, text: str) -> int:
        """All that are anywhere in a text."""
        digests = map(secret.digest, secret.FORM.findall(text))
        return await self._tokens.revoke("digest", [digest for digest in digests if digest])

    async def sweep(self) -> str:
        """Remove what has expired, and failures to log in that count no more."""
        tokens = await self._tokens.forget_expired()
        failures = await self._failures.delete_expired()
        return f"{tokens} expired tokens, {failures} old failures to log in"
