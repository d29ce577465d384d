"""Add the scope of tokens. Existing tokens have the full scope.

Servers of the previous release insert tokens without a scope, which then have the default. They
ignore the scope of the tokens that they accept.

Revision: 0011, after 0010
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # A constant default does not rewrite the table.
    op.add_column(
        "tokens",
        sa.Column("scope", sa.String(length=10), server_default="read write", nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_tokens_scope"),
        "tokens",
        "scope IN ('read', 'write', 'read write')",
        postgresql_not_valid=True,
    )


def downgrade() -> None:
    # Without their scope, restricted tokens would have the full scope.
    op.execute("DELETE FROM tokens WHERE scope <> 'read write'")
    op.drop_column("tokens", "scope")
