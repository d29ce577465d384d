"""Random rows for the tests of cursors.

Each column has few different values, so that many rows have equal sort keys.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID

from app.core.db import Database
from tests.support.rows import (
    AUTHOR_ID,
    LIST_CASES,
    add_referenced_rows,
    add_rows,
    execute,
    insert_rows,
)

Row = dict[str, Any]

# An author whose books must not appear in the list of the books of AUTHOR_ID.
OTHER_AUTHOR_ID: Final = UUID(int=7)
BOOK_AUTHOR_IDS: Final = {UUID(AUTHOR_ID), OTHER_AUTHOR_ID}
NAMES: Final = ("a", "A", "á", "b", 'a"b', "a\\", "a b", "本", "📚", "\u0001", " ")
# The number of rows that can be inserted for an entity without a method below.
MAX_ROWS: Final = 10_000
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ADD_AUTHORS: Final = (
    f"INSERT INTO authors (id, name) VALUES ('{AUTHOR_ID}', 'A'), ('{OTHER_AUTHOR_ID}', 'A') "
    "ON CONFLICT DO NOTHING"
)


class RandomRows:
    """Inserts random rows of the entity of a list, for example of `/books`."""

    def __init__(self, random: Random, path: str) -> None:
        self._random = random
        self._case = LIST_CASES[path]
        # The numbers of rows that are not inserted yet, in random order. Row 1 is left out, because
        # the rows of other entities refer to it.
        self._numbers = iter(Random(path).sample(range(2, MAX_ROWS), MAX_ROWS - 2))
        row_methods: dict[str, Callable[[], Row]] = {
            "authors": self._random_author,
            "books": self._random_book,
            "documents": self._random_document,
            "users": self._random_user,
        }
        self._random_row = row_methods.get(self._case.plural)

    async def prepare(self, database: Database) -> None:
        """Insert the rows that random rows refer to, among them the authors of all books."""
        await execute(database, _ADD_AUTHORS)
        await add_referenced_rows(database, self._case)

    async def add(self, database: Database, count: int) -> None:
        """Insert `count` random rows."""
        if self._random_row is None:
            await add_rows(database, self._case, [self._numbered_row() for _ in range(count)])
        else:
            rows = [self._random_row() for _ in range(count)]
            await insert_rows(database, self._case.plural, rows)

    def _numbered_row(self) -> Row:
        """Return the parameters of `add_rows` for a row of any entity.

        Only its id and times are random, because its name may have to be unique.
        """
        return {"n": next(self._numbers), "id": self._random_id(), **self._random_times()}

    def _random_author(self) -> Row:
        dob = self._random.choice([None, None, date(1, 1, 2), date(1900, 1, 1), date(9999, 12, 30)])
        return {
            "id": self._random_id(),
            "name": self._random_name(),
            "dob": dob,
            **self._random_times(),
        }

    def _random_book(self) -> Row:
        author_id = self._random.choice([UUID(AUTHOR_ID), UUID(AUTHOR_ID), OTHER_AUTHOR_ID])
        row = {"id": self._random_id(), "title": self._random_name(), "author_id": author_id}
        return row | self._random_times()

    def _random_document(self) -> Row:
        size = self._random.choice([None, None, 0, 1, 2**50])
        return {
            "id": self._random_id(),
            "name": self._random_name(),
            "size": size,
            **self._random_times(),
        }

    def _random_user(self) -> Row:
        email = f"{self._random_name()}{self._random.getrandbits(64)}@example.com"
        return {
            "name": self._random_name(),
            "email": email,
            "password_hash": "x",
            **self._random_times(),
        }

    def _random_id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))

    def _random_name(self) -> str:
        return self._random.choice(NAMES)

    def _random_times(self) -> Row:
        return {"created_at": self._random_time(), "updated_at": self._random_time()}

    def _random_time(self) -> datetime:
        return _START + self._random.randrange(6) * timedelta(microseconds=1)
