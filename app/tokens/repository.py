"""The SQL of tokens."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Condition, Repository, Statements, equals, mark_reusable
from app.tokens.models import Token
from app.tokens.schemas import TokenRead
from app.users.models import User

# `last_used_at` is updated at most this often, so that most requests with a token write nothing.
LAST_USE_PRECISION: Final = timedelta(minutes=5)
_token = Token.__table__.c
_user = User.__table__.c


class TokenOwner(NamedTuple):
    """A valid token and the user to whom it belongs."""

    token_id: UUID
    user_id: int
    role: str
    # True if the recorded time of the token's last use is out of date.
    last_use_is_outdated: bool


class TokenRepository(Repository[TokenRead]):
    """Reads and writes tokens."""

    model = TokenRead
    noun = "Token"
    statements = Statements(Token, TokenRead, filters={"owner": equals(Token.user_id, "owner")})
    _last_use_is_outdated = sa.or_(
        _token.last_used_at.is_(None), _token.last_used_at < sa.func.now() - LAST_USE_PRECISION
    )
    # Built once, because every request with a token executes it.
    _select_owner = mark_reusable(
        sa.select(
            _token.id,
            _token.user_id,
            _user.role,
            _last_use_is_outdated.label("last_use_is_outdated"),
        )
        .join_from(Token, User, _user.id == _token.user_id)
        .where(
            _token.digest == sa.bindparam("digest", type_=_token.digest.type),
            _token.expires_at > sa.func.now(),
        )
    )

    async def find_owner(self, digest: bytes) -> TokenOwner | None:
        """Find a token by its digest, with its user. Return None if it is unknown or expired."""
        rows = await self.session.execute(self._select_owner, {"digest": digest})
        if not rows:
            return None
        row = rows[0]
        return TokenOwner(row["id"], row["user_id"], row["role"], row["last_use_is_outdated"])

    async def record_use(self, token_id: UUID) -> None:
        """Set the time of a token's last use to now, unless it was set a few minutes ago."""
        statement = (
            sa.update(Token)
            .where(_token.id == token_id, self._last_use_is_outdated)
            .values(last_used_at=sa.func.now())
            .returning(_token.id)
        )
        await self.session.execute(statement)

    async def create_if_password_unchanged(
        self, columns: Mapping[str, Any], user_id: int, password_hash: str
    ) -> bool:
        """Insert a token for a user whose password has just been verified against a hash.

        Returns False and inserts nothing if the user no longer has this hash.

            INSERT INTO tokens (user_id, id, name, digest, expires_at)
            SELECT users.id, :id, :name, :digest, :expires_at FROM users
            WHERE users.id = :user_id AND users.password_hash = :password_hash
            FOR SHARE

        The lock (FOR SHARE) makes a concurrent change of the password wait until the token is
        committed. The trigger of that change then sees the token and deletes it.
        """
        column_values = {
            name: sa.literal(value, _token[name].type) for name, value in columns.items()
        }
        user_with_hash = (
            sa.select(_user.id, *column_values.values())
            .where(_user.id == user_id, _user.password_hash == password_hash)
            .with_for_update(read=True)
        )
        statement = (
            sa.insert(Token)
            .from_select(["user_id", *column_values], user_with_hash)
            .returning(_token.id)
        )
        rows = await self.session.execute(statement)
        return bool(rows)

    async def delete_where_in(
        self, column_name: Literal["id", "user_id", "digest"], values: Sequence[Any]
    ) -> int:
        """Delete the tokens whose column has one of these values. Return their number."""
        # The values are a single array parameter, because a leaked log may contain more tokens than
        # a statement can have parameters.
        column = _token[column_name]
        array = sa.literal(list(values), sa.ARRAY(column.type))
        return await self._delete_where(column == sa.any_(array))

    async def delete_expired(self) -> int:
        """Delete the tokens that have expired. Return their number."""
        return await self._delete_where(_token.expires_at <= sa.func.now())

    async def _delete_where(self, condition: Condition) -> int:
        """Delete the tokens that meet a condition. Return their number."""
        statement = sa.delete(Token).where(condition).returning(_token.id)
        rows = await self.session.execute(statement)
        return len(rows)
