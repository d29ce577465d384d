"""The SQL of users and of the wrong passwords that were tried."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import EmailTaken, LastAdmin
from app.core.repository import Repository
from app.core.sessions import Session
from app.core.statements import Statements
from app.users.models import LoginFailure, User
from app.users.schemas import UserRead

ALLOWED: Final = {"account": 10, "address": 50}  # failures in a row before one has to wait
LONGEST: Final = 15 * 60  # seconds; from one on they double
FORGOTTEN: Final = timedelta(hours=1)  # after the last failure

_user, _failure = User.__table__.c, LoginFailure.__table__.c
_given = sa.bindparam("email", type_=sa.Text)
_owner = _user.id == sa.bindparam("owner", type_=_user.id.type)  # everybody owns himself
_same_hash = _user.password_hash == sa.bindparam("hash", type_=_user.password_hash.type)
_same_email = sa.func.lower(_user.email) == sa.func.lower(_given)


class UserRepository(Repository[UserRead]):
    """Reads and writes users."""

    model, noun = UserRead, "User"
    _filters = {"email": _same_email, "owner": _owner, "hash": _same_hash}
    statements = Statements(User, UserRead, filters=_filters)
    violations = {"uq_users_email": EmailTaken, "users_last_admin": LastAdmin}
    _credentials = sa.select(_user.id, _user.password_hash)

    async def credentials(self, email: str) -> sa.Row[Any] | None:
        """The id and the hash of the user with this email, in any case."""
        rows = await self.session.rows(self._credentials.where(_same_email), {"email": email})
        return rows[0] if rows else None

    async def rehash(self, key: int, old: str, new: str) -> sa.Row[Any] | None:
        """Another hash of the same password; `None` when that has been changed meanwhile."""
        same = sa.update(User).where(_user.id == key, _user.password_hash == old)
        changed = same.values(password_hash=new).returning(_user.id, _user.password_hash)
        rows = await self.session.rows(changed, {})
        return rows[0] if rows else None


class LoginFailureRepository:
    """Counts failures in the database, so that every process knows of them."""

    _excess = _failure.failures - sa.case(ALLOWED, value=_failure.kind)
    _over = _failure.failed_at + sa.func.make_interval(
        *(0,) * 6, sa.func.least(LONGEST, sa.func.power(2, sa.func.least(_excess, 20)))
    )
    _waits = sa.and_(_excess >= 0, _over > sa.func.now())
    _old = _failure.failed_at < sa.func.now() - FORGOTTEN

    def __init__(self, session: Session) -> None:
        self.session = session

    async def count(self, names: Mapping[str, str]) -> int:
        """Note an attempt; or else how many seconds until there may be one."""
        columns = (sa.column("kind", sa.String), sa.column("name", sa.Text))
        given = sa.values(*columns, name="given").data(sorted(names.items()))
        refused = sa.exists().where(self._of(names), self._waits)
        attempt = sa.select(given.c.kind, _digest(given.c.name)).where(sa.not_(refused))
        added = insert(LoginFailure).from_select(["kind", "digest"], attempt.order_by(given.c.kind))
        noted = added.on_conflict_do_update(
            index_elements=["kind", "digest"],
            set_={
                "failures": sa.case((self._old, 1), else_=_failure.failures + 1),
                "failed_at": sa.func.now(),
            },
            where=sa.not_(self._waits),
        ).returning(_failure.kind)
        counted = {row.kind for row in await self.session.rows(noted, {})}
        if counted == names.keys():
            return 0
        if counted:  # others at the same time have used up the rest of the other kind's
            mistaken = self._one_less({kind: names[kind] for kind in counted})
            await self.session.rows(mistaken.returning(_failure.kind), {})
        seconds = sa.func.ceil(sa.extract("epoch", sa.func.max(self._over) - sa.func.now()))
        waiting = sa.select(sa.cast(seconds, sa.Integer)).where(self._of(names), self._waits)
        return max(1, (await self.session.rows(waiting, {}))[0][0] or 0)

    async def forget(self, names: Mapping[str, str]) -> None:
        """It was none: an account starts anew; an address, which many may share, as before it.

        The account first, as `count` does it: or else log-ins at once would be deadlocks.
        """
        account = {kind: name for kind, name in names.items() if kind == "account"}
        deleted = sa.delete(LoginFailure).where(self._of(account)).returning(_failure.kind)
        first = sa.select(sa.func.count()).select_from(deleted.cte("gone")).scalar_subquery()
        others = self._one_less(names).where(_failure.kind != "account", first >= 0)
        await self.session.rows(others.returning(_failure.kind), {})

    async def forget_old(self) -> int:
        """Remove what counts no more; how many."""
        old = sa.delete(LoginFailure).where(self._old).returning(_failure.kind)
        return len(await self.session.rows(old, {}))

    def _one_less(self, names: Mapping[str, str]) -> sa.Update:
        fewer = sa.update(LoginFailure).values(failures=_failure.failures - 1)
        fewer = fewer.where(self._of(names), _failure.failures > 0)
        return fewer.execution_options(synchronize_session=False)  # there are no entities

    def _of(self, names: Mapping[str, str]) -> sa.ColumnElement[bool]:
        rows = [
            sa.tuple_(sa.literal(kind), _digest(sa.literal(name))) for kind, name in names.items()
        ]
        return sa.tuple_(_failure.kind, _failure.digest).in_(rows)


def _digest(name: sa.ColumnElement[str]) -> sa.ColumnElement[bytes]:
    """Of the id of the user with this email, who may change that as he likes; or else of the name.

    The database makes it: it alone knows what it takes for the same email. No name has the bytes
    of an id, for these begin with NUL.
    """
    lower = sa.func.lower(name)
    user = sa.select(sa.func.int8send(_user.id)).where(sa.func.lower(_user.email) == lower)
    kept = sa.func.coalesce(user.scalar_subquery(), sa.func.convert_to(lower, "UTF8"))
    return sa.func.sha256(kept)
