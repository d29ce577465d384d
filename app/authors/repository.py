"""The SQL of authors."""

from app.authors.errors import AuthorHasBooks
from app.authors.models import UNKNOWN_DOB_SORT_VALUE, Author
from app.authors.schemas import AuthorRead
from app.core.db import Repository, Statements, contains_words


class AuthorRepository(Repository[AuthorRead]):
    """Reads and writes authors. Authors with an unknown date of birth (`dob`) are sorted last."""

    model = AuthorRead
    noun = "Author"
    statements = Statements(
        Author,
        AuthorRead,
        filters={"q": contains_words(Author.name)},
        sort_nulls_as={"dob": UNKNOWN_DOB_SORT_VALUE},
    )
    constraint_errors = {"fk_books_author_id_authors": AuthorHasBooks}
