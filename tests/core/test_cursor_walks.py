"""Walks through whole lists by cursor, while other rows come and go between the pages.

Whatever is inserted and deleted meanwhile, a row that exists throughout is seen exactly once and
in its place.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.answers import get
from tests.rows import AUTHOR, BOOKS_OF_AUTHOR, LISTS, SORTS, TABLES, insert, query, run

STABLE, PASSING = 120, 80  # rows at the start: that stay, and that may be deleted
OTHER = UUID(int=7)  # another author, whose books are in the way
MANY = 2000  # more rows than there ever are
Row = dict[str, Any]

MIXED = {
    "/authors": ("name,-dob", "-dob,name", "dob,-created_at,name", "-name,-dob,-created_at"),
    "/books": ("title,-updated_at", "-created_at,title", "updated_at,created_at,-title"),
    "/documents": ("name,-size", "-size,name", "size,-created_at,name"),
    "/users": ("name,-email", "-created_at,name", "name,created_at,-email"),
    BOOKS_OF_AUTHOR: ("title,-created_at", "-updated_at,-title"),
}
WALKS = [
    (path, sort)
    for path in LISTS
    for sort in ("", *SORTS[path], *(f"-{key}" for key in SORTS[path]), *MIXED[path])
]


@pytest.mark.parametrize(("path", "sort"), WALKS)
async def test_a_walk_sees_each_lasting_row_once_and_in_order(
    client: AsyncClient, database: Database, path: str, sort: str
) -> None:
    random, table = Random(f"{path} {sort}"), TABLES[path]
    make = Rows(random).makers[table]
    await insert(database, "authors", [{"id": id_, "name": "A"} for id_ in (UUID(AUTHOR), OTHER)])
    await insert(database, table, [make() for _ in range(STABLE + PASSING)])
    everyone = await query(database, f"SELECT id FROM {table}")
    passing = random.sample([id_ for id_ in everyone if id_ not in KEPT], PASSING)
    lasting = set(everyone) - set(passing)

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        url = f"{path}?size={random.randint(1, 20)}&sort={sort}&cursor={cursor}"
        page = await get(client, url.replace("&sort=&", "&").removesuffix("&cursor="))
        cursor = page["next"]
        assert page["items"] or cursor is None
        assert len(seen) < MANY, "the walk goes in circles"
        seen += [item["id"] for item in page["items"]]
        await insert(database, table, [make() for _ in range(random.randint(1, 4))])
        # Among those that go is often the very row that the cursor stands on.
        gone = [id_ for id_ in passing if random.random() < 0.03 or str(id_) == str(seen[-1])]
        await run(database, f"DELETE FROM {table} WHERE id = ANY(:ids)", {"ids": gone})

    of_author = f"WHERE author_id = '{AUTHOR}'" if path == BOOKS_OF_AUTHOR else ""
    order = f"SELECT id FROM {table} {of_author} ORDER BY {_order(sort)}"
    expected = [str(id_) for id_ in await query(database, order) if id_ in lasting]
    lasting_seen = [str(id_) for id_ in seen if str(id_) in set(expected)]
    assert lasting_seen == expected
    assert len(seen) == len(set(seen))


KEPT = {UUID(AUTHOR), OTHER}


def _order(sort: str) -> str:
    """The order as SQL of its own; the id follows the direction of the key before it."""
    keys = sort.split(",") if sort else ["created_at"]
    keys.append("-id" if keys[-1].startswith("-") else "id")
    # In Postgres nulls come last, and first in a descending order: as unknown dates should.
    return ", ".join(f"{key[1:]} DESC" if key.startswith("-") else key for key in keys)


class Rows:
    """Makes rows with few different values in each column, so that most keys are equal."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.makers: dict[str, Callable[[], Row]] = {
            "authors": self.author,
            "books": self.book,
            "documents": self.document,
            "users": self.user,
        }

    def author(self) -> Row:
        dob = self.random.choice([None, None, date(1, 1, 2), date(1900, 1, 1), date(9999, 12, 30)])
        return {"id": self._id(), "name": self._name(), "dob": dob, **self._times()}

    def book(self) -> Row:
        author_id = self.random.choice([UUID(AUTHOR), UUID(AUTHOR), OTHER])
        row = {"id": self._id(), "title": self._name(), "author_id": author_id}
        return row | self._times()

    def document(self) -> Row:
        size = self.random.choice([None, None, 0, 1, 2**62])
        return {"id": self._id(), "name": self._name(), "size": size, **self._times()}

    def user(self) -> Row:
        email = f"{self._name()}{self.random.getrandbits(64)}@example.com"
        return {"name": self._name(), "email": email, "password_hash": "x", **self._times()}

    def _id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def _name(self) -> str:
        return self.random.choice(
            ["a", "A", "á", "b", 'a"b', "a\\", "a b", "本", "📚", "\u0001", " "]
        )

    def _times(self) -> Row:
        return {"created_at": self._time(), "updated_at": self._time()}

    def _time(self) -> datetime:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        return start + self.random.randrange(6) * timedelta(microseconds=1)
