"""Create the counters that limit failed logins, guesses of the current password and registrations.

The table replaces `login_failures`. Servers of the previous release use that one until
revision 0019 drops it.

Revision: 0014, after 0013
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "attempt_counters",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("empty_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("known_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            sa.Computed("greatest(empty_at, counted_until, known_until)", persisted=True),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("kind", "digest", name=op.f("pk_attempt_counters")),
    )
    op.create_index(op.f("ix_attempt_counters_expires_at"), "attempt_counters", ["expires_at"])


def downgrade() -> None:
    op.drop_table("attempt_counters")
