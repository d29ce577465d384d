"""Every table, in one list: what Alembic compares a database with."""

from typing import Final

from app.authors.models import Author
from app.books.models import Book
from app.core.idempotency import StoredResponse
from app.core.jobs import JobRun
from app.documents.models import Document, StoredObject
from app.reports.models import UserCount
from app.tokens.models import Token
from app.users.models import LoginFailure, User

TABLES = (
    *(Author, Book, Document, JobRun, LoginFailure, StoredResponse, StoredObject),
    *(Token, User, UserCount),
)
metadata = Author.metadata
# The last revision in migrations/, which brings a database there.
REVISION: Final = "0005"
