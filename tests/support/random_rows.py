"""Random rows for walks by cursor: few different values in each column, so most keys are equal."""

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

OTHER_AUTHOR_ID: Final = UUID(int=7)  # another author, whose books are in the way
BOOK_AUTHOR_IDS: Final = {UUID(AUTHOR_ID), OTHER_AUTHOR_ID}  # the authors of the books
NAMES: Final = ("a", "A", "á", "b", 'a"b', "a\\", "a b", "本", "📚", "\u0001", " ")
MAX_ROWS: Final = 10_000  # of an entity without hand-made rows
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ADD_AUTHORS: Final = (
    f"INSERT INTO authors (id, name) VALUES ('{AUTHOR_ID}', 'A'), ('{OTHER_AUTHOR_ID}', 'A') "
    "ON CONFLICT DO NOTHING"
)


class RandomRows:
    """Inserts random rows of the entity that a list shows."""

    def __init__(self, random: Random, path: str) -> None:
        self._random = random
        self._case = LIST_CASES[path]
        # Row 1 is what rows of other entities refer to.
        self._numbers = iter(Random(path).sample(range(2, MAX_ROWS), MAX_ROWS - 2))
        makers: dict[str, Callable[[], Row]] = {
            "authors": self._author,
            "books": self._book,
            "documents": self._document,
            "users": self._user,
        }
        self._make = makers.get(self._case.plural)

    async def prepare(self, database: Database) -> None:
        """Insert what the rows refer to. Both authors also appear in the list of authors."""
        await execute(database, _ADD_AUTHORS)
        await add_referenced_rows(database, self._case)

    async def add(self, database: Database, count: int) -> None:
        """Insert some rows."""
        if self._make is None:
            await add_rows(database, self._case, [self._numbered() for _ in range(count)])
        else:
            await insert_rows(database, self._case.plural, [self._make() for _ in range(count)])

    def _numbered(self) -> Row:
        """A row of any entity. Only ids and times are random, because a name may be unique."""
        return {"n": next(self._numbers), "id": self._id(), **self._times()}

    def _author(self) -> Row:
        dob = self._random.choice([None, None, date(1, 1, 2), date(1900, 1, 1), date(9999, 12, 30)])
        return {"id": self._id(), "name": self._name(), "dob": dob, **self._times()}

    def _book(self) -> Row:
        author_id = self._random.choice([UUID(AUTHOR_ID), UUID(AUTHOR_ID), OTHER_AUTHOR_ID])
        row = {"id": self._id(), "title": self._name(), "author_id": author_id}
        return row | self._times()

    def _document(self) -> Row:
        size = self._random.choice([None, None, 0, 1, 2**62])
        return {"id": self._id(), "name": self._name(), "size": size, **self._times()}

    def _user(self) -> Row:
        email = f"{self._name()}{self._random.getrandbits(64)}@example.com"
        return {"name": self._name(), "email": email, "password_hash": "x", **self._times()}

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))

    def _name(self) -> str:
        return self._random.choice(NAMES)

    def _times(self) -> Row:
        return {"created_at": self._time(), "updated_at": self._time()}

    def _time(self) -> datetime:
        return _START + self._random.randrange(6) * timedelta(microseconds=1)
