"""The list of all tables, which Alembic compares with a database, and the newest revision."""

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
MIGRATIONS_DIR: Final = Path(__file__).parents[1] / "migrations" / "versions"
# Matches the file name of a migration, such as `2026_11_21_1200-0002_create_documents.py`. The
# setting `file_template` in `alembic.ini` has the same format.
_MIGRATION_FILE_NAME: Final = re.compile(r"\d{4}_\d\d_\d\d_\d{4}-([0-9a-z]+)_\w+\.py")


def latest_revision(directory: Path) -> str:
    """Return the revision of the newest migration in a directory.

    For example, this is "0002" if the newest file is `2026_11_21_1200-0002_create_documents.py`.
    Raises `FileNotFoundError` if the directory does not contain a migration.

    The revision is read from the name of the file. Alembic would import all migrations to find it,
    which would delay the startup of every server.
    """
    revisions = []
    # File names begin with the date and time, so alphabetical order is the order of creation.
    for path in sorted(directory.iterdir()):
        match = _MIGRATION_FILE_NAME.fullmatch(path.name)
        if match is not None:
            revision = match[1]
            revisions.append(revision)
    if not revisions:
        raise FileNotFoundError(f"The directory {directory} does not contain a migration")
    return revisions[-1]


# The schema revision that this code needs.
REVISION: Final = latest_revision(MIGRATIONS_DIR)
