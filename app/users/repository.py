"""The SQL of users."""

import sqlalchemy as sa

from app.core.errors import EmailTaken
from app.core.repository import Repository
from app.core.statements import Statements
from app.users.models import User
from app.users.schemas import UserRead

_given = sa.bindparam("email", type_=sa.Text)
_same_email = sa.func.lower(User.__table__.c.email) == sa.func.lower(_given)


class UserRepository(Repository[UserRead]):
    """Reads and writes users."""

    model, noun = UserRead, "User"
    statements = Statements(User, UserRead, filters={"email": _same_email})
    violations = {"uq_users_email": EmailTaken}
