"""The SQL of tokens."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Condition, Repository, Row, Statements, equals, mark_reusable
from app.tokens.models import Token
from app.tokens.schemas import TokenRead
from app.users.models import User

USED_LATELY: Final = timedelta(minutes=5)
_token, _user = Token.__table__.c, User.__table__.c


class TokenRepository(Repository[TokenRead]):
    """Reads and writes tokens."""

    model, noun = TokenRead, "Token"
    statements = Statements(Token, TokenRead, filters={"owner": equals(Token.user_id, "owner")})
    _unused = _token.last_used_at.is_(None) | (_token.last_used_at < sa.func.now() - USED_LATELY)
    _bearer = mark_reusable(
        sa.select(_token.id, _token.user_id, _user.role, _unused.label("unused"))
        .join_from(Token, User, _user.id == _token.user_id)
        .where(
            _token.digest == sa.bindparam("digest", type_=_token.digest.type),
            _token.expires_at > sa.func.now(),
        )
    )

    async def bearer(self, digest: bytes) -> Row | None:
        """Return the owner of a valid token, and whether it was unused lately."""
        rows = await self.session.execute(self._bearer, {"digest": digest})
        return rows[0] if rows else None

    async def use(self, key: UUID) -> None:
        """Note that a token is in use, once in a while."""
        used = sa.update(Token).where(_token.id == key, self._unused)
        await self.session.execute(used.values(last_used_at=sa.func.now()).returning(_token.id))

    async def issue(self, values: Mapping[str, Any], user_id: int, password_hash: str) -> bool:
        """Add a token for a user. Return false if the hash of the password has changed.

        The lock makes a change of the password wait until it can see the token and revoke it.
        """
        columns = {name: sa.literal(value, _token[name].type) for name, value in values.items()}
        same = (_user.id == user_id, _user.password_hash == password_hash)
        user = sa.select(_user.id, *columns.values()).where(*same).with_for_update(read=True)
        added = sa.insert(Token).from_select(["user_id", *columns], user)
        return bool(await self.session.execute(added.returning(_token.id)))

    async def revoke(
        self, column: Literal["id", "user_id", "digest"], values: Sequence[Any]
    ) -> int:
        """Delete the tokens of which a column is one of the values; how many."""
        # In an array: a log may have more tokens than a statement may have parameters.
        array = sa.literal(list(values), sa.ARRAY(_token[column].type))
        return await self._remove(_token[column] == sa.any_(array))

    async def forget_expired(self) -> int:
        """Delete the tokens that work no more; how many."""
        return await self._remove(_token.expires_at <= sa.func.now())

    async def _remove(self, which: Condition) -> int:
        return len(await self.session.execute(sa.delete(Token).where(which).returning(_token.id)))
