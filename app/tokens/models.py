"""The tokens table."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Entity
from app.users.models import User


class Token(Entity):
    """A secret that lets its bearer act as a user, until it expires or is deleted.

    Rules in the database:

    - `uq_tokens_digest`: a digest identifies one token. The token itself is not stored.
    - `fk_tokens_user_id_users`: the user exists; deleting the user deletes the tokens.
    - Trigger `revoke_tokens` of users deletes the tokens when the password changes, except the one
      with which it was changed.
    """

    __tablename__ = "tokens"
    __table_args__ = (sa.Index(None, "user_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id, ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(100))
    digest: Mapped[bytes] = mapped_column(unique=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_used_at: Mapped[datetime | None]
