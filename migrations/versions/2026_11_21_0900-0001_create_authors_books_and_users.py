"""Create authors, books and users, and the functions of their search.

Revision: 0001, the first
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Returns the words of a text in lower case, without accents, separated by single spaces, for
# example 'garcia marquez' for 'García-Márquez'. Names and searches are both converted by this
# function, so that they agree on what a word is.
#
# NFKD separates accents from their letters. After the accents are removed, NFC combines the other
# marks with their letters again, because these are different letters. Only the first 100 characters
# of a word count.
SEARCH_WORDS = r"""
CREATE FUNCTION search_words(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(trim(regexp_replace(
    replace(replace(lower(
        normalize(regexp_replace(normalize($1, NFKD), '[\u0300-\u036f]', '', 'g'), NFC)
    ), 'ß', 'ss'), 'ς', 'σ'),
    '[[:punct:][:space:][:cntrl:]\u200b]+', ' ', 'g'
)), '([^ ]{100})[^ ]+', '\1', 'g')
"""
# Returns the words of a text as a tsvector. The parser of to_tsvector is not used, because it would
# divide a word such as 5e5e5.
SEARCH_VECTOR = """
CREATE FUNCTION search_vector(text) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN array_to_tsvector(string_to_array(search_words($1), ' '))
"""
# Returns a query for rows in which every word of a search is the beginning of a word. For example
# 'garc':* & 'marq':* for 'Garc Marq'. A search without a word returns NULL, which matches no row.
SEARCH_QUERY = """
CREATE FUNCTION search_query(text) RETURNS tsquery LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('''' || replace(nullif(search_words($1), ''), ' ', ''':* & ''') || ''':*')::tsquery
"""
# Changes the versions of an author's books when the author's name or date of birth changes, because
# the representation of a book contains both, and its ETag has to change with them.
CHANGE_BOOKS = """
CREATE FUNCTION change_books_of_author() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE books SET version = version + 1 WHERE author_id = NEW.id;
    RETURN NULL;
END
$$
"""
CHANGE_BOOKS_TRIGGER = """
CREATE TRIGGER change_books AFTER UPDATE OF name, dob ON authors FOR EACH ROW
WHEN ((OLD.name, OLD.dob) IS DISTINCT FROM (NEW.name, NEW.dob))
EXECUTE FUNCTION change_books_of_author()
"""


def upgrade() -> None:
    for function in (SEARCH_WORDS, SEARCH_VECTOR, SEARCH_QUERY):
        op.execute(function)
    op.create_table(
        "authors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("dob", sa.Date(), nullable=True),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("search_vector(name)", persisted=True),
            nullable=False,
        ),
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
        sa.CheckConstraint("char_length(name) >= 1", name=op.f("ck_authors_name_not_empty")),
        sa.CheckConstraint("isfinite(dob)", name=op.f("ck_authors_dob_finite")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authors")),
    )
    op.create_index(op.f("ix_authors_created_at_id"), "authors", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_authors_dob_id",
        "authors",
        [sa.literal_column("coalesce(dob, 'infinity'::date)"), "id"],
        unique=False,
    )
    op.create_index(op.f("ix_authors_name_id"), "authors", ["name", "id"], unique=False)
    op.create_index(
        op.f("ix_authors_search"), "authors", ["search"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("search_vector(name)", persisted=True),
            nullable=False,
        ),
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
        sa.CheckConstraint("char_length(name) >= 1", name=op.f("ck_users_name_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index(op.f("ix_users_created_at_id"), "users", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_users_email_id"), "users", ["email", "id"], unique=False)
    op.create_index(op.f("ix_users_name_id"), "users", ["name", "id"], unique=False)
    op.create_index(
        op.f("ix_users_search"), "users", ["search"], unique=False, postgresql_using="gin"
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "books",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("search_vector(title)", persisted=True),
            nullable=False,
        ),
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
        sa.CheckConstraint("char_length(title) >= 1", name=op.f("ck_books_title_not_empty")),
        sa.ForeignKeyConstraint(
            ["author_id"], ["authors.id"], name=op.f("fk_books_author_id_authors")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_books")),
    )
    op.create_index(
        op.f("ix_books_author_id_created_at_id"),
        "books",
        ["author_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_books_author_id_title_id"), "books", ["author_id", "title", "id"])
    op.create_index(
        op.f("ix_books_author_id_updated_at_id"), "books", ["author_id", "updated_at", "id"]
    )
    op.create_index(op.f("ix_books_created_at_id"), "books", ["created_at", "id"], unique=False)
    op.create_index(
        op.f("ix_books_search"), "books", ["search"], unique=False, postgresql_using="gin"
    )
    op.create_index(op.f("ix_books_title_id"), "books", ["title", "id"], unique=False)
    op.create_index(op.f("ix_books_updated_at_id"), "books", ["updated_at", "id"], unique=False)
    op.execute(CHANGE_BOOKS)
    op.execute(CHANGE_BOOKS_TRIGGER)


def downgrade() -> None:
    for table in ("books", "users", "authors"):
        op.drop_table(table)
    op.execute("DROP FUNCTION change_books_of_author()")
    for function in ("search_query", "search_vector", "search_words"):
        op.execute(f"DROP FUNCTION {function}(text)")
