"""The SQL of authors."""

from app.authors.errors import AuthorHasBooks
from app.authors.models import UNKNOWN_DOB, Author
from app.authors.schemas import AuthorRead
from app.core.db import Repository, Statements


class AuthorRepository(Repository[AuthorRead]):
    """Reads and writes authors."""

    model = AuthorRead
    noun = "Author"
    statements = Statements(Author, AuthorRead, sort_nulls_as={"dob": UNKNOWN_DOB})
    constraint_errors = {"fk_books_author_id_authors": AuthorHasBooks}
