"""The SQL of tokens."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.core.db import (
    Condition,
    Repository,
    RowsToChange,
    Statements,
    delete_in_batches,
    equals,
    mark_reusable,
)
from app.tokens.models import Token
from app.tokens.schemas import TokenRead
from app.users.models import User

# `last_used_at` is updated at most this often, so that most requests with a token write nothing.
LAST_USE_PRECISION: Final = timedelta(minutes=5)
# One login deletes at most so many surplus tokens, so that its statement is short even for a user
# who got many tokens before there was a maximum.
MAX_DELETED_TOKENS: Final = 1000
_must_record_use: Final = sa.or_(
    Token.last_used_at.is_(None), Token.last_used_at < sa.func.now() - LAST_USE_PRECISION
)

# The tokens that the statement sees do not include the new one, which is among those to keep.
_CREATE_TOKEN: Final = sa.text(f"""
    WITH created AS (
        INSERT INTO tokens (user_id, id, name, digest, scope, expires_at)
        SELECT users.id, :id, :name, :digest, :scope, :expires_at FROM users
        WHERE users.id = :user_id AND users.password_hash = :verified_hash
        FOR SHARE
        RETURNING id, user_id
    ),
    surplus AS (
        SELECT tokens.id FROM tokens JOIN created ON created.user_id = tokens.user_id
        ORDER BY tokens.expires_at > now() DESC,
            coalesce(tokens.last_used_at, tokens.created_at) DESC, tokens.id DESC
        OFFSET :max_tokens_per_user - 1 LIMIT {MAX_DELETED_TOKENS}
    ),
    deleted AS (
        DELETE FROM tokens USING surplus WHERE tokens.id = surplus.id
    )
    SELECT id FROM created
""")  # noqa: S608 - inserts only a constant


class ValidToken(NamedTuple):
    """A token that exists and has not expired, with its user."""

    token_id: UUID
    user_id: int
    user_role: str
    scope: str
    # True if no use of the token was recorded in the last five minutes (`LAST_USE_PRECISION`).
    must_record_use: bool


class TokenRepository(Repository[TokenRead]):
    """Reads and writes tokens."""

    model = TokenRead
    noun = "Token"
    statements = Statements(Token, TokenRead, filters={"owner": equals(Token.user_id, "owner")})
    # Built once, because every request with a token executes it.
    _select_valid_tokens = mark_reusable(
        sa.select(
            Token.digest,
            Token.id,
            Token.user_id,
            User.role,
            Token.scope,
            _must_record_use.label("must_record_use"),
        )
        .join_from(Token, User, User.id == Token.user_id)
        .where(
            Token.digest == sa.any_(sa.bindparam("digests", type_=sa.ARRAY(sa.LargeBinary))),
            Token.expires_at > sa.func.now(),
        )
    )

    async def find_valid_tokens(self, digests: Collection[bytes]) -> dict[bytes, ValidToken]:
        """Find tokens and their users by the SHA-256 digests of the tokens.

        The result does not contain tokens that do not exist or have expired.
        """
        rows = await self.session.execute(self._select_valid_tokens, {"digests": list(digests)})
        return {
            row["digest"]: ValidToken(
                row["id"], row["user_id"], row["role"], row["scope"], row["must_record_use"]
            )
            for row in rows
        }

    async def record_use(self, token_id: UUID) -> None:
        """Set `last_used_at` of a token to the current time, at most once in five minutes.

            UPDATE tokens SET last_used_at = now()
            WHERE id = :token_id
                AND (last_used_at IS NULL OR last_used_at < now() - interval '5 minutes')

        If several requests send the token at the same time, only the first changes the row.
        """
        statement = (
            sa.update(Token)
            .where(Token.id == token_id, _must_record_use)
            .values(last_used_at=sa.func.now())
        )
        await self.session.execute(statement)

    async def create_if_password_unchanged(
        self,
        token_values: Mapping[str, Any],
        user_id: int,
        verified_hash: str,
        *,
        max_tokens_per_user: int,
    ) -> bool:
        """Insert a token, if the user still has the password hash that was verified for the login.

        If the user then has more than `max_tokens_per_user` tokens, deletes the expired ones, and
        then those that have not been used for the longest time. The last use of a token that was
        never used is its creation. Concurrent logins do not see the tokens of each other, so a
        user may have a few tokens more until the next login.

        `token_values` are the values of the columns `id`, `name`, `digest`, `scope` and
        `expires_at`. Returns False and changes nothing if the password hash has changed since it
        was verified.

        FOR SHARE locks the user, so that a concurrent change of the password waits until the token
        is committed. A trigger of that change then deletes the token.
        """
        parameters = {
            **token_values,
            "user_id": user_id,
            "verified_hash": verified_hash,
            "max_tokens_per_user": max_tokens_per_user,
        }
        created_rows = await self.session.execute(_CREATE_TOKEN, parameters)
        return len(created_rows) > 0

    async def delete_by_id(self, token_id: UUID) -> int:
        """Delete the token with this id, if it exists. Return the number of deleted tokens."""
        return await self._delete_tokens(Token.id == token_id, order_by=Token.id)

    async def delete_by_user(self, user_id: int) -> int:
        """Delete all tokens of a user. Return the number of deleted tokens."""
        return await self._delete_tokens(Token.user_id == user_id, order_by=Token.created_at)

    async def delete_by_digests(self, digests: Sequence[bytes]) -> int:
        """Delete the tokens with these SHA-256 digests. Return the number of deleted tokens.

            DELETE FROM tokens WHERE digest = ANY (:digests)

        The digests are a single parameter, an array, because a statement can have only 32,767
        parameters and a log file may contain more tokens.
        """
        digest_array = sa.literal(list(digests), sa.ARRAY(sa.LargeBinary))
        has_digest = Token.digest == sa.any_(digest_array)
        return await self._delete_tokens(has_digest, order_by=Token.digest)

    async def delete_expired_tokens(self) -> int:
        """Delete the tokens that have expired. Return the number of deleted tokens."""
        is_expired = Token.expires_at <= sa.func.now()
        expired_tokens = RowsToChange(Token, is_expired, order_by=Token.expires_at)
        return await delete_in_batches(self.session, expired_tokens)

    async def _delete_tokens(
        self, condition: Condition, *, order_by: InstrumentedAttribute[Any]
    ) -> int:
        """Delete the tokens that meet a condition. Return the number of deleted tokens.

        Waits for tokens that a request has locked, so that no token is left.
        """
        tokens = RowsToChange(Token, condition, order_by, wait_for_locks=True)
        return await delete_in_batches(self.session, tokens)
