"""Create the table of objects in the store that have no row in `stored_objects`.

The daily job `audit-storage` fills it, so that each of these objects is reported once.

Revision: 0016, after 0015
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "unknown_objects",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("audited_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_unknown_objects")),
    )


def downgrade() -> None:
    op.drop_table("unknown_objects")
