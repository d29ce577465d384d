"""Drop the columns and indexes that revision 0009 replaces, and the functions of these columns.

Servers of the previous release use them. Upgrade to 0018, replace all of these servers, and then
upgrade to this revision. Servers of this release do not require it.

Revision: 0019, after 0018
"""

from collections.abc import Sequence

from alembic import op

from migrations.invalid_indexes import drop_invalid_index

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The text column of each table, of which the generated column `search` contains the words.
SEARCHED_COLUMNS = {"authors": "name", "books": "title", "documents": "name", "users": "name"}
# The definition of each index, after `CREATE INDEX CONCURRENTLY`.
INDEXES = {
    "ix_authors_name_id": "authors (name, id)",
    "ix_authors_search": "authors USING gin (search)",
    "ix_books_title_id": "books (title, id)",
    "ix_books_author_id_title_id": "books (author_id, title, id)",
    "ix_books_search": "books USING gin (search)",
    "ix_documents_name_id": "documents (name, id)",
    "ix_documents_owner_id_name_id": "documents (owner_id, name, id)",
    "ix_documents_search": "documents USING gin (search)",
    "ix_users_name_id": "users (name, id)",
    "ix_users_email_id": "users (email, id)",
    "ix_users_search": "users USING gin (search)",
}
# The functions as revision 0001 creates them.
SEARCH_WORDS = r"""
CREATE OR REPLACE FUNCTION search_words(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(trim(regexp_replace(
    replace(replace(lower(
        normalize(regexp_replace(normalize($1, NFKD), '[\u0300-\u036f]', '', 'g'), NFC)
    ), 'ß', 'ss'), 'ς', 'σ'),
    '[[:punct:][:space:][:cntrl:]\u200b]+', ' ', 'g'
)), '([^ ]{100})[^ ]+', '\1', 'g')
"""
SEARCH_VECTOR = """
CREATE OR REPLACE FUNCTION search_vector(text) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN array_to_tsvector(string_to_array(search_words($1), ' '))
"""
SEARCH_QUERY = """
CREATE OR REPLACE FUNCTION search_query(text) RETURNS tsquery LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('''' || replace(nullif(search_words($1), ''), ' ', ''':* & ''') || ''':*')::tsquery
"""


def upgrade() -> None:
    # The tables are changed outside of a transaction, and every statement can be repeated. One
    # transaction would deadlock with requests that use several of the tables.
    with op.get_context().autocommit_block():
        for index in ("uq_users_email", *INDEXES):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
        for table in SEARCHED_COLUMNS:
            op.execute(
                "-- squawk-ignore ban-drop-column\n"
                f"ALTER TABLE {table} DROP COLUMN IF EXISTS search"
            )
    for function in ("search_query", "search_vector", "search_words"):
        # Only servers of the previous release and the dropped columns used the function.
        op.execute(f"-- squawk-ignore ban-drop-function\nDROP FUNCTION {function}(text)")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for function in (SEARCH_WORDS, SEARCH_VECTOR, SEARCH_QUERY):
            op.execute(function)
        for table, column in SEARCHED_COLUMNS.items():
            # This rewrites the table, and blocks all requests that use it for this time.
            op.execute(
                f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS search tsvector NOT NULL"
                f" GENERATED ALWAYS AS (search_vector({column})) STORED"
            )
        create_index("uq_users_email", "users (lower(email))", unique=True)
        for name, definition in INDEXES.items():
            create_index(name, definition)


def create_index(name: str, definition: str, *, unique: bool = False) -> None:
    """Create an index without blocking writes, outside of a transaction."""
    drop_invalid_index(name)
    keyword = "UNIQUE INDEX" if unique else "INDEX"
    op.execute(f"CREATE {keyword} CONCURRENTLY IF NOT EXISTS {name} ON {definition}")
