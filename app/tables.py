"""The list of all tables, which Alembic compares with a database, and the required revisions."""

import re
from pathlib import Path
from typing import Final

from app.authors.models import Author
from app.books.models import Book
from app.changes.models import Change, ChangeFeed
from app.core.db import Base
from app.core.idempotency import StoredResponse
from app.core.jobs import JobRun
from app.documents.models import Document, DocumentUsage, StoredObject, UnknownObject
from app.reports.models import UserCount
from app.tokens.models import Token
from app.users.models import AttemptCounter, User

TABLES: Final[tuple[type[Base], ...]] = (
    AttemptCounter,
    Author,
    Book,
    Change,
    ChangeFeed,
    Document,
    DocumentUsage,
    JobRun,
    StoredResponse,
    StoredObject,
    Token,
    UnknownObject,
    User,
    UserCount,
)
metadata = Author.metadata
MIGRATIONS_DIR: Final = Path(__file__).parents[1] / "migrations" / "versions"
# Matches the file name of a migration, such as `2026_11_21_1200-0002_create_documents.py`. The
# setting `file_template` in `alembic.ini` has the same format.
_MIGRATION_FILE_NAME: Final = re.compile(r"\d{4}_\d\d_\d\d_\d{4}-([0-9a-z]+)_(\w+)\.py")
# The description of a migration that only removes what this code no longer uses begins with this.
CONTRACT_PREFIX: Final = "contract_"


def list_required_revisions(directory: Path) -> tuple[str, ...]:
    """Return the revisions of the migrations that this code requires, the oldest first.

    For example, `("0001", "0002")` if the newest file is `2026_11_21_1200-0002_create_documents.py`
    or the migration after it only removes something, as in `...-0003_contract_documents.py`.
    Raises `FileNotFoundError` if the directory does not contain a migration.

    The revisions are read from the names of the files. Alembic would import all migrations to find
    them, which would delay the startup of every server.
    """
    revisions = []
    number_of_required_revisions = 0
    # File names begin with the date and time, so alphabetical order is the order of creation.
    for path in sorted(directory.iterdir()):
        match = _MIGRATION_FILE_NAME.fullmatch(path.name)
        if match is None:
            continue
        revision, description = match.groups()
        revisions.append(revision)
        if not description.startswith(CONTRACT_PREFIX):
            number_of_required_revisions = len(revisions)
    if not revisions:
        raise FileNotFoundError(f"The directory {directory} does not contain a migration")
    return tuple(revisions[:number_of_required_revisions])


# The schema has to be at the last of these revisions or at a newer one.
REQUIRED_REVISIONS: Final = list_required_revisions(MIGRATIONS_DIR)
