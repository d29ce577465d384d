"""Let a direct upload expire at a fixed time, and let one request at a time complete it.

Revision: 0010, after 0009
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for name in ("expires_at", "completing_until"):
        column = sa.Column(name, sa.DateTime(timezone=True), nullable=True)
        op.add_column("stored_objects", column)


def downgrade() -> None:
    for name in ("completing_until", "expires_at"):
        op.drop_column("stored_objects", name)
