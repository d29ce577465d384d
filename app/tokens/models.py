"""The tokens table."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Entity
from app.users.models import User


class Token(Entity):
    """An access token, with which a client acts as a user until the token expires or is deleted.

    `digest` is the SHA-256 of the token. The token itself is not stored. `scope` is `read`, `write`
    or `read write`, the scope of tokens that were created without one.

    Rules in the database:

    - `ck_tokens_scope`: the scope is one of these texts.
    - `uq_tokens_digest`: a digest identifies one token.
    - `fk_tokens_user_id_users`: the user exists. Deleting the user deletes their tokens.
    - Trigger `revoke_tokens` on users deletes a user's tokens when the password changes, except the
      token with which it was changed.
    """

    __tablename__ = "tokens"
    # With None as its name, the index is called `ix_tokens_user_id_created_at_id`.
    __table_args__ = (
        sa.CheckConstraint("scope IN ('read', 'write', 'read write')", name="scope"),
        sa.Index(None, "user_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id, ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(100))
    digest: Mapped[bytes] = mapped_column(unique=True)
    # The default is for servers of the release before scopes, which insert tokens without one.
    scope: Mapped[str] = mapped_column(sa.String(10), server_default="read write")
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_used_at: Mapped[datetime | None]
