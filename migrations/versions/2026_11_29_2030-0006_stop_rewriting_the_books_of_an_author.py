"""Stop updating the books of an author when the author changes.

The version of a book in responses combines the versions of the book and of its author, so a change
of the author changes it without an update of the book. Servers of the previous release need the
trigger for the ETags of books. Do not change authors until all of these servers are replaced.

Revision: 0006, after 0005
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

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
    op.execute("DROP TRIGGER change_books ON authors")
    # Only the trigger used the function.
    op.execute("-- squawk-ignore ban-drop-function\nDROP FUNCTION change_books_of_author()")


def downgrade() -> None:
    op.execute(CHANGE_BOOKS)
    op.execute(CHANGE_BOOKS_TRIGGER)
