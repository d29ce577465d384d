"""Record the changes of authors, books, documents and users, for the change feed.

Creating a trigger blocks writes of its table, but not reads, until the transaction ends.

Revision: 0018, after 0017
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations.change_feed import record_changes_of, stop_recording_changes_of

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The owner of a row, as an expression of its columns. The rows of other tables have no owners.
OWNERS = {"authors": "NULL", "books": "NULL", "users": "id", "documents": "owner_id"}
# Identifies the database in its cluster, for example "7713996683900599143/5". The numbers of
# transactions have a meaning only there: after a dump is restored elsewhere, they start again.
CREATE_HOME_FUNCTION = """
CREATE FUNCTION change_feed_home() RETURNS text LANGUAGE sql STABLE
RETURN (SELECT system_identifier FROM pg_control_system()) || '/'
    || (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# The changes of transactions before this one are complete: each of these transactions has ended, and
# what it has committed is visible. A later transaction may still add changes.
CREATE_HORIZON_FUNCTION = """
CREATE FUNCTION change_feed_horizon() RETURNS bigint LANGUAGE sql STABLE
RETURN pg_snapshot_xmin(pg_current_snapshot())::text::bigint
"""


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("entity", sa.String(length=63), nullable=False),
        sa.Column("entity_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=7), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("xid", "sequence", name=op.f("pk_changes")),
    )
    # The job `sweep-changes` deletes a small part of the rows at a time.
    op.execute("ALTER TABLE changes SET (autovacuum_vacuum_scale_factor = 0.02)")
    op.execute(CREATE_HOME_FUNCTION)
    op.execute(CREATE_HORIZON_FUNCTION)
    op.create_table(
        "change_feed",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("epoch", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("home", sa.Text(), server_default=sa.text("change_feed_home()"), nullable=False),
        sa.Column("is_recording", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("first_xid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_feed")),
        sa.CheckConstraint("id", name=op.f("ck_change_feed_id")),
    )
    op.execute("INSERT INTO change_feed DEFAULT VALUES")
    for table, owner in OWNERS.items():
        record_changes_of(table, owner)


def downgrade() -> None:
    for table in OWNERS:
        stop_recording_changes_of(table)
    op.drop_table("change_feed")
    op.execute("DROP FUNCTION change_feed_home()")
    op.execute("DROP FUNCTION change_feed_horizon()")
    op.drop_table("changes")
