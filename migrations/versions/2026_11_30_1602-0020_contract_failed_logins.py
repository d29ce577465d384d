"""Drop the counters of failed logins that revision 0014 replaces.

Servers of the previous release use them. Upgrade to 0018, replace all of these servers, and then
upgrade to this revision. Servers of this release do not require it.

Revision: 0020, after 0019
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("-- squawk-ignore ban-drop-table\nDROP TABLE login_failures")


def downgrade() -> None:
    op.create_table(
        "login_failures",
        sa.Column("kind", sa.String(length=7), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "failed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("kind", "digest", name=op.f("pk_login_failures")),
    )
    op.create_index(op.f("ix_login_failures_failed_at"), "login_failures", ["failed_at"])
