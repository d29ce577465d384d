"""Check the scope of the tokens that existed before revision 0011, without blocking requests.

Revision: 0012, after 0011
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("ALTER TABLE tokens VALIDATE CONSTRAINT ck_tokens_scope")


def downgrade() -> None:
    pass
