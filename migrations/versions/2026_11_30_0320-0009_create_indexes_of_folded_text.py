"""Create the indexes of folded text, by which lists are sorted and searched and emails are unique.

The indexes that they replace stay until revision 0018, because servers of the previous release use
them. If the locale of the database is C, two users may have emails that differ only in the case of a
letter such as É. The upgrade then fails before it creates an index, and lists the ids of the users.

Revision: 0009, after 0008
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import context, op
from alembic.util import CommandError

from migrations.invalid_indexes import drop_invalid_index

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The definition of each index, after `CREATE INDEX CONCURRENTLY`.
INDEXES = {
    "ix_authors_name_sort_key_id": 'authors (text_sort_key(name COLLATE "C"), id)',
    "ix_authors_name_terms": "authors USING gin (search_terms(name))",
    "ix_books_title_sort_key_id": 'books (text_sort_key(title COLLATE "C"), id)',
    "ix_books_author_id_title_sort_key_id": (
        'books (author_id, text_sort_key(title COLLATE "C"), id)'
    ),
    "ix_books_title_terms": "books USING gin (search_terms(title))",
    "ix_documents_name_sort_key_id": 'documents (text_sort_key(name COLLATE "C"), id)',
    "ix_documents_owner_id_name_sort_key_id": (
        'documents (owner_id, text_sort_key(name COLLATE "C"), id)'
    ),
    "ix_documents_name_terms": "documents USING gin (search_terms(name))",
    "ix_users_name_sort_key_id": 'users (text_sort_key(name COLLATE "C"), id)',
    "ix_users_email_sort_key_id": 'users (text_sort_key(email COLLATE "C"), id)',
    "ix_users_name_terms": "users USING gin (search_terms(name))",
}
# Only ids, because an email is personal data.
SELECT_DUPLICATES = """
SELECT array_agg(id ORDER BY id) FROM users
GROUP BY fold_case(email) HAVING count(*) > 1 ORDER BY min(id) LIMIT 20
"""
DUPLICATES_MESSAGE = (
    "Some users have the same email, except for the case of its letters: the users with the ids {}."
    " Change the emails of these users or delete users, and upgrade again. The tables are unchanged."
)


def upgrade() -> None:
    if not context.is_offline_mode():
        require_unique_emails(op.get_bind())
    with op.get_context().autocommit_block():
        create_index("uq_users_email_fold_case", "users (fold_case(email))", unique=True)
        for name, definition in INDEXES.items():
            create_index(name, definition)
    # The planner needs statistics of the new expressions.
    for table in ("authors", "books", "documents", "users"):
        op.execute(f"ANALYZE {table}")


def require_unique_emails(connection: sa.Connection) -> None:
    """Raise `CommandError` if two users would have the same email."""
    groups = connection.scalars(sa.text(SELECT_DUPLICATES)).all()
    if groups:
        ids = "; ".join(" and ".join(map(str, group)) for group in groups)
        raise CommandError(DUPLICATES_MESSAGE.format(ids))


def create_index(name: str, definition: str, *, unique: bool = False) -> None:
    """Create an index without blocking writes, outside of a transaction."""
    drop_invalid_index(name)
    keyword = "UNIQUE INDEX" if unique else "INDEX"
    op.execute(f"CREATE {keyword} CONCURRENTLY IF NOT EXISTS {name} ON {definition}")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in ("uq_users_email_fold_case", *INDEXES):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
