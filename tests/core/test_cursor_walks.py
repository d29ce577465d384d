"""Walks through whole lists by cursor, while other rows come and go between the pages.

Whatever is inserted and deleted meanwhile, a row that exists throughout is seen exactly once and
in its place.
"""

from random import Random

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.random_rows import BOOK_AUTHOR_IDS, RandomRows
from tests.support.responses import get_json
from tests.support.rows import (
    AUTHOR_BOOKS_PATH,
    AUTHOR_ID,
    LIST_PATHS,
    SORT_KEYS,
    TABLE_NAMES,
    execute,
    select_values,
)

STABLE, PASSING = 120, 80  # rows at the start: that stay, and that may be deleted
MANY = 2000  # more rows than there ever are

HAND_MADE_ORDERS = {
    "/authors": ("name,-dob", "-dob,name", "dob,-created_at,name", "-name,-dob,-created_at"),
    "/books": ("title,-updated_at", "-created_at,title", "updated_at,created_at,-title"),
    "/documents": ("name,-size", "-size,name", "size,-created_at,name"),
    "/users": ("name,-email", "-created_at,name", "name,created_at,-email"),
    AUTHOR_BOOKS_PATH: ("title,-created_at", "-updated_at,-title"),
}


def _mixed_orders(path: str) -> tuple[str, ...]:
    """Orders by several keys in both directions; of a list without hand-made ones, two keys."""
    if path in HAND_MADE_ORDERS:
        return HAND_MADE_ORDERS[path]
    first, *others = SORT_KEYS[path]
    return tuple(order for key in others[:1] for order in (f"{first},-{key}", f"-{key},{first}"))


MIXED = {path: _mixed_orders(path) for path in LIST_PATHS}
WALKS = [
    (path, sort)
    for path in LIST_PATHS
    for sort in ("", *SORT_KEYS[path], *(f"-{key}" for key in SORT_KEYS[path]), *MIXED[path])
]


@pytest.mark.parametrize(("path", "sort"), WALKS)
async def test_a_walk_sees_each_lasting_row_once_and_in_order(
    client: AsyncClient, database: Database, path: str, sort: str
) -> None:
    random, table = Random(f"{path} {sort}"), TABLE_NAMES[path]
    rows = RandomRows(random, path)
    await rows.prepare(database)
    await rows.add(database, STABLE + PASSING)
    everyone = await select_values(database, f"SELECT id FROM {table}")
    passing = random.sample([id_ for id_ in everyone if id_ not in BOOK_AUTHOR_IDS], PASSING)
    lasting = set(everyone) - set(passing)

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        url = f"{path}?size={random.randint(1, 20)}&sort={sort}&cursor={cursor}"
        page = await get_json(client, url.replace("&sort=&", "&").removesuffix("&cursor="))
        cursor = page["next"]
        assert page["items"] or cursor is None
        assert len(seen) < MANY, "the walk goes in circles"
        seen += [item["id"] for item in page["items"]]
        await rows.add(database, random.randint(1, 4))
        # Among those that go is often the very row that the cursor stands on.
        gone = [id_ for id_ in passing if random.random() < 0.03 or str(id_) == str(seen[-1])]
        await execute(database, f"DELETE FROM {table} WHERE id = ANY(:ids)", {"ids": gone})

    of_author = f"WHERE author_id = '{AUTHOR_ID}'" if path == AUTHOR_BOOKS_PATH else ""
    order = f"SELECT id FROM {table} {of_author} ORDER BY {_order(sort)}"
    expected = [str(id_) for id_ in await select_values(database, order) if id_ in lasting]
    lasting_seen = [str(id_) for id_ in seen if str(id_) in set(expected)]
    assert lasting_seen == expected
    assert len(seen) == len(set(seen))


def _order(sort: str) -> str:
    """The order as SQL of its own; the id follows the direction of the key before it."""
    keys = sort.split(",") if sort else ["created_at"]
    keys.append("-id" if keys[-1].startswith("-") else "id")
    # In Postgres nulls come last, and first in a descending order: as unknown dates should.
    return ", ".join(f"{key[1:]} DESC" if key.startswith("-") else key for key in keys)
