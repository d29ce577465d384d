"""Stop rewriting the books of an author who changes.

The version of a book in responses combines those of the book and its author, so a change of the
author changes it without a write. Processes of the release before this one need the trigger for
the ETags of books; change no author until all of them have been replaced.

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
    # Nothing but the trigger has used the function.
    op.execute("-- squawk-ignore ban-drop-function\nDROP FUNCTION change_books_of_author()")


def downgrade() -> None:
    op.execute(CHANGE_BOOKS)
    op.execute(CHANGE_BOOKS_TRIGGER)
