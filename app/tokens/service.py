"""Log in, authenticate, list and revoke tokens."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from app.core.access import Principal
from app.core.db import DATABASE_AND_OS_ERRORS, Database, Session
from app.core.errors import Conflict, InvalidRequest, ServiceError, Unauthorized
from app.core.field_errors import FieldError
from app.core.observability import count_shared_statement
from app.core.paging import Page, PageQuery
from app.core.preconditions import ANY_VERSION, Precondition
from app.core.shared_lookups import SharedLookups
from app.tokens import secret
from app.tokens.repository import TokenRepository, ValidToken
from app.tokens.schemas import AccessToken, LoginForm, TokenRead
from app.tokens.scopes import parse_stored_scope
from app.users.attempt_counters import AttemptCounterRepository
from app.users.credentials import CredentialVerifier

# How long a request waits until the time of its token's last use is recorded.
RECORD_USE_TIMEOUT_SECONDS: Final = 0.5
log = logging.getLogger(__name__)


class PrincipalFinder:
    """Finds the user of an access token in the database, for every request that has a token.

    Requests that arrive at the same time share one statement, which begins after they have arrived.
    A token that was revoked before a request was sent is therefore never accepted.
    """

    def __init__(self, database: Database) -> None:
        """Create a finder that uses a database, without opening a connection yet."""
        self._database = database
        self._lookups = SharedLookups(self._find_valid_tokens)

    async def find(self, token: str) -> Principal | None:
        """Find the user whom an access token authenticates. Return None if it is not valid.

        A second statement is executed at most every five minutes for each token, to record that
        the token is in use.
        """
        digest = secret.compute_token_digest(token)
        if digest is None:
            return None
        started_at = perf_counter()
        try:
            valid_token = await self._lookups.get(digest)
        except ServiceError as error:
            # The warning of the database has no request id, because it belongs to all requests.
            log.warning("could not look up the token: %s", error.__cause__ or error)
            raise
        finally:
            count_shared_statement(perf_counter() - started_at)
        if valid_token is None:
            return None
        if valid_token.must_record_use:
            await self._record_use(valid_token.token_id)
        return Principal(
            valid_token.user_role,
            valid_token.user_id,
            valid_token.token_id,
            parse_stored_scope(valid_token.scope),
        )

    async def _find_valid_tokens(self, digests: Collection[bytes]) -> Mapping[bytes, ValidToken]:
        """Look up tokens by their digests."""
        return await TokenRepository(self._database.reads).find_valid_tokens(digests)

    async def _record_use(self, token_id: UUID) -> None:
        """Record that a token is in use.

        The time of the last use is only information for the user. A request succeeds even if the
        time cannot be recorded, for example because the database is overloaded. A read must not
        wait either, for example while commits wait for a standby.
        """
        with suppress(ServiceError, *DATABASE_AND_OS_ERRORS):
            async with asyncio.timeout(RECORD_USE_TIMEOUT_SECONDS):
                await TokenRepository(self._database.optional_writes).record_use(token_id)


class LoginService:
    """Logs users in: verifies an email and a password, and creates an access token.

    Args:
        session: The session in which tokens are created.
        verifier: Verifies the email and the password.
        token_ttl_seconds: The maximum lifetime of a new token, and the default.
        max_tokens_per_user: The number of tokens that a user can have. Another login deletes the
            token that has not been used for the longest time.
    """

    def __init__(
        self,
        session: Session,
        verifier: CredentialVerifier,
        *,
        token_ttl_seconds: int,
        max_tokens_per_user: int,
    ) -> None:
        self._repository = TokenRepository(session)
        self._verifier = verifier
        self._token_ttl_seconds = token_ttl_seconds
        self._max_tokens_per_user = max_tokens_per_user

    async def log_in(
        self, login: LoginForm, token_name: str, network: str | None
    ) -> tuple[UUID, AccessToken]:
        """Verify an email and a password, and create an access token. Return its id and the token.

        A wrong password counts as a failed login of the account and of the client's network, which
        is None if it is unknown.

        Raises `Unauthorized` if the email or the password is wrong, `TooManyFailedLogins` after
        too many failed logins, `InvalidRequest` if the requested lifetime exceeds the maximum, and
        `Conflict` if the password is changed during the login.
        """
        lifetime_seconds = self._choose_lifetime(login.expires_in)
        credentials = await self._verifier.verify(login.username, login.password, network)
        if credentials is None:
            raise Unauthorized("Wrong email or password")
        token = secret.generate_token()
        token_id = uuid7()
        token_values = {
            "id": token_id,
            "name": token_name,
            "digest": secret.compute_token_digest(token),
            "scope": login.scope,
            "expires_at": datetime.now(UTC) + timedelta(seconds=lifetime_seconds),
        }
        is_created = await self._repository.create_if_password_unchanged(
            token_values,
            credentials.user_id,
            credentials.password_hash,
            max_tokens_per_user=self._max_tokens_per_user,
        )
        if not is_created:
            raise Conflict("The password was changed during the login")
        access_token = AccessToken(
            access_token=token,
            token_type="bearer",  # noqa: S106 - not a password
            expires_in=lifetime_seconds,
            scope=login.scope,
        )
        return token_id, access_token

    def _choose_lifetime(self, requested_seconds: int | None) -> int:
        """Return the lifetime of a new token in seconds.

        Raises `InvalidRequest` if the client requests more than the maximum. Otherwise, the token
        would expire earlier than the client expects.
        """
        if requested_seconds is None:
            return self._token_ttl_seconds
        if requested_seconds > self._token_ttl_seconds:
            detail = f"Must be at most {self._token_ttl_seconds}"
            raise InvalidRequest(
                FieldError(pointer="/expires_in", code="less_than_equal", detail=detail)
            )
        return requested_seconds


class TokenService:
    """Lists and revokes the access tokens of the principal, the user who sent the request.

    A precondition says which versions of a token the client allows a method to delete.
    """

    def __init__(self, session: Session, principal: Principal) -> None:
        self._principal = principal
        self._repository = TokenRepository(session, principal.owner_filter("own-account"))

    async def page(self, query: PageQuery) -> Page[TokenRead]:
        """Read one page of the principal's tokens."""
        return await self._repository.page(query)

    async def delete(self, id: UUID, precondition: Precondition = ANY_VERSION) -> None:
        """Delete one of the principal's tokens, so that the next request with it is refused.

        Raises `NotFound` if the principal does not have this token, and `PreconditionFailed` if
        the precondition does not allow its version.
        """
        await self._repository.delete(id, precondition)

    async def delete_current(self, precondition: Precondition = ANY_VERSION) -> None:
        """Delete the token with which the request was sent, which logs the principal out.

        Raises `NotFound` if the token was deleted in the meantime, and `PreconditionFailed` if
        the precondition does not allow its version.
        """
        await self._repository.delete(self._principal.token_id, precondition)


class TokenRevoker:
    """Revokes the tokens of any user, for the command line and scheduled jobs.

    Every method that revokes tokens returns how many tokens it has revoked.
    """

    def __init__(self, session: Session) -> None:
        self._repository = TokenRepository(session)
        self._attempt_counters = AttemptCounterRepository(session)

    async def revoke_by_user(self, user_id: int) -> int:
        """Revoke all tokens of a user."""
        return await self._repository.delete_by_user(user_id)

    async def revoke_by_id(self, id: UUID) -> int:
        """Revoke the token with this id, if it exists."""
        return await self._repository.delete_by_id(id)

    async def revoke_leaked(self, text: str) -> int:
        """Revoke every token that occurs anywhere in a text, for example in a leaked log file.

        Returns the number of revoked tokens.
        """
        digests = []
        for possible_token in secret.TOKEN_PATTERN.findall(text):
            digest = secret.compute_token_digest(possible_token)
            # The digest is None if a text only looks like a token, but has a wrong checksum.
            if digest is not None:
                digests.append(digest)
        return await self._repository.delete_by_digests(digests)

    async def delete_expired(self) -> str:
        """Delete expired tokens and expired counters of attempts, as a scheduled job.

        Returns the message to log, for example "2 expired tokens, 0 expired attempt counters".
        """
        deleted_tokens = await self._repository.delete_expired_tokens()
        deleted_counters = await self._attempt_counters.delete_expired_counters()
        return f"{deleted_tokens} expired tokens, {deleted_counters} expired attempt counters"
