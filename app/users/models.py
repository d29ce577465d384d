"""The tables of users and of the counters that limit attempts."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, Entity, search_terms, text_sort_key


class User(Entity):
    """A person with an account.

    `password_changed_by` is the id of the token with which the password was changed last.

    Rules in the database:

    - `uq_users_email_fold_case`: two users cannot have the same email, ignoring case.
    - `ck_users_name_not_empty`: the name has at least one character.
    - `ck_users_role`: the role is `member`, `editor` or `admin`. A new user is a `member`.
    - Trigger `keep_an_admin`: deleting or demoting the last admin fails with the constraint name
      `users_last_admin`. A lock serializes concurrent changes of admins.
    - Trigger `revoke_tokens`: setting `password_changed_by` deletes the user's other tokens.
      Another hash of the same password does not set it.
    - The tokens and documents of a deleted user are deleted too (`ON DELETE CASCADE`).
    """

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        sa.CheckConstraint("role IN ('member', 'editor', 'admin')", name="role"),
        sa.Index("uq_users_email_fold_case", sa.text("fold_case(email)"), unique=True),
        sa.Index("ix_users_admins", "id", postgresql_where=sa.text("role = 'admin'")),
        sa.Index("ix_users_name_sort_key_id", text_sort_key("name"), "id"),
        sa.Index("ix_users_email_sort_key_id", text_sort_key("email"), "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index("ix_users_name_terms", search_terms("name"), postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    email: Mapped[str] = mapped_column(sa.String(254))
    role: Mapped[str] = mapped_column(sa.String(6), server_default="member")
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    password_changed_by: Mapped[UUID | None]


class AttemptCounter(Base):
    """Counter that limits attempts, for example the failed logins of one account.

    `kind` says what is counted, and `digest` is a SHA-256 that identifies the account, the network
    or the token for which it is counted. They are not stored themselves.

    `attempted_at` is the time of the last attempt that was counted. The counter falls steadily, and
    `empty_at` is the time at which it is empty (`attempt_counters.py` has an example).

    The counters of an account and a network (`kind` is `pair`) use two more columns:
    `counted_until` is the time until which their failures are already counted for the network, and
    `known_until` the time until which the network is known for the account, because its owner has
    logged in from there.

    Rules in the database:

    - The primary key allows one row for each kind and digest, so that concurrent attempts are
      counted in the same row.
    - `expires_at` is generated: the time after which the row has no effect and can be deleted. An
      index on it would double the cost of the updates, because each attempt changes it.
    """

    __tablename__ = "attempt_counters"

    kind: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    attempted_at: Mapped[datetime]
    empty_at: Mapped[datetime]
    counted_until: Mapped[datetime | None]
    known_until: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(
        sa.Computed("greatest(empty_at, counted_until, known_until)", persisted=True)
    )
