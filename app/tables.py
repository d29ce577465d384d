"""Every table, in one list: what Alembic compares a database with; and the schema's revision."""

import re
from pathlib import Path
from typing import Final

from app.authors.models import Author
from app.books.models import Book
from app.core.db import Base
from app.core.idempotency import StoredResponse
from app.core.jobs import JobRun
from app.documents.models import Document, StoredObject
from app.reports.models import UserCount
from app.tokens.models import Token
from app.users.models import LoginFailure, User

TABLES: Final[tuple[type[Base], ...]] = (
    Author,
    Book,
    Document,
    JobRun,
    LoginFailure,
    StoredResponse,
    StoredObject,
    Token,
    User,
    UserCount,
)
metadata = Author.metadata
MIGRATIONS: Final = Path(__file__).parents[1] / "migrations" / "versions"
# For example `2026_11_21_1200-0002_create_documents.py`; `alembic.ini` has the template.
_FILE_NAME: Final = re.compile(r"\d{4}_\d\d_\d\d_\d{4}-([0-9a-z]+)_\w+\.py")


def latest_revision(directory: Path) -> str:
    """Return the id of the newest migration, which is `0002` for the example above.

    The newest has the last name, because names begin with a date. Unlike Alembic, which imports
    every file, this is cheap enough for the start of a server; a test compares both.
    """
    names = sorted(path.name for path in directory.iterdir())
    revisions = [match[1] for match in map(_FILE_NAME.fullmatch, names) if match]
    if not revisions:
        raise FileNotFoundError(f"There are no migrations in {directory}")
    return revisions[-1]


# The revision of the schema that this code needs.
REVISION: Final = latest_revision(MIGRATIONS)
