"""Create tokens and counters of failed logins, and add roles to users and owners to documents.

Revision: 0004, after 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Refuses a statement after which no user would be an admin. The lock makes concurrent transactions
# wait for each other, so that the second one sees the change of the first.
KEEP_AN_ADMIN = """
CREATE FUNCTION keep_an_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('bookshelf last admin', 0));
    IF NOT EXISTS (SELECT FROM users WHERE role = 'admin') THEN
        RAISE restrict_violation USING
            MESSAGE = 'the last admin stays',
            CONSTRAINT = 'users_last_admin';
    END IF;
    RETURN NULL;
END
$$
"""
KEEP_AN_ADMIN_TRIGGER = """
CREATE TRIGGER keep_an_admin AFTER DELETE OR UPDATE OF role ON users
FOR EACH ROW WHEN (OLD.role = 'admin') EXECUTE FUNCTION keep_an_admin()
"""
# Deletes the tokens of a user whose password changes, except the token that was used to change it.
# A new hash of the same password does not set the column password_changed_by.
REVOKE_TOKENS = """
CREATE FUNCTION revoke_tokens_of_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tokens
    WHERE user_id = NEW.id AND id IS DISTINCT FROM NEW.password_changed_by;
    RETURN NULL;
END
$$
"""
REVOKE_TOKENS_TRIGGER = """
CREATE TRIGGER revoke_tokens AFTER UPDATE OF password_changed_by ON users
FOR EACH ROW EXECUTE FUNCTION revoke_tokens_of_user()
"""


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("role", sa.String(length=6), server_default="member", nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_users_role"), "users", "role IN ('member', 'editor', 'admin')"
    )
    op.add_column("users", sa.Column("password_changed_by", sa.Uuid(), nullable=True))
    op.create_index("ix_users_admins", "users", ["id"], postgresql_where=sa.text("role = 'admin'"))
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index(op.f("ix_tokens_expires_at"), "tokens", ["expires_at"])
    op.create_index(
        op.f("ix_tokens_user_id_created_at_id"), "tokens", ["user_id", "created_at", "id"]
    )
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
    op.add_column("documents", sa.Column("owner_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_documents_owner_id_users"),
        *("documents", "users", ["owner_id"], ["id"]),
        ondelete="CASCADE",
    )
    op.create_index(
        op.f("ix_documents_owner_id_created_at_id"), "documents", ["owner_id", "created_at", "id"]
    )
    op.create_index(op.f("ix_documents_owner_id_name_id"), "documents", ["owner_id", "name", "id"])
    op.create_index(
        "ix_documents_owner_id_size_id",
        "documents",
        ["owner_id", sa.literal_column("coalesce(size, 9223372036854775807)"), "id"],
    )
    for statement in (
        *(KEEP_AN_ADMIN, KEEP_AN_ADMIN_TRIGGER),
        *(REVOKE_TOKENS, REVOKE_TOKENS_TRIGGER),
    ):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER keep_an_admin ON users")
    op.execute("DROP TRIGGER revoke_tokens ON users")
    op.execute("DROP FUNCTION keep_an_admin()")
    op.execute("DROP FUNCTION revoke_tokens_of_user()")
    for name in ("size_id", "name_id", "created_at_id"):
        op.drop_index(f"ix_documents_owner_id_{name}", table_name="documents")
    op.drop_column("documents", "owner_id")
    op.drop_table("login_failures")
    op.drop_table("tokens")
    op.drop_index("ix_users_admins", table_name="users")
    op.drop_column("users", "password_changed_by")
    op.drop_column("users", "role")
