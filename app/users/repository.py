"""The SQL of users."""

from typing import Any

from sqlalchemy import FromClause, Row, Select, bindparam, func, select

from app.core.errors import EmailTaken
from app.core.repository import Repository, Statements
from app.users.models import User
from app.users.schemas import UserRead

_users = User.__table__


def _select_from(rows: FromClause) -> Select[Any]:
    columns = rows.c
    return select(
        columns.id,
        columns.name,
        columns.email,
        columns.created_at,
        columns.updated_at,
        columns.version,
    )


class UserRepository(Repository[int, UserRead]):
    """Reads and writes users."""

    noun = "User"
    statements = Statements(
        User,
        _select_from,
        filters={
            "email": func.lower(_users.c.email)
            == func.lower(bindparam("email", type_=_users.c.email.type))
        },
    )
    violations = {"uq_users_email": EmailTaken}

    def read(self, row: Row[Any]) -> UserRead:
        return UserRead.model_validate(row)
