"""Reads whole lists by cursor, while other rows are inserted and deleted between the pages.

A row that exists during the whole time must be on exactly one page, and in the right place.
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

# The number of rows at the start that stay, and of those that may be deleted.
PERMANENT_ROWS = 120
DELETABLE_ROWS = 80
# No list ever has as many rows.
MAX_ROWS = 2000

SELECTED_SORT_ORDERS = {
    "/authors": ("name,-dob", "-dob,name", "dob,-created_at,name", "-name,-dob,-created_at"),
    "/books": ("title,-updated_at", "-created_at,title", "updated_at,created_at,-title"),
    "/documents": ("name,-size", "-size,name", "size,-created_at,name"),
    "/users": ("name,-email", "-created_at,name", "name,created_at,-email"),
    AUTHOR_BOOKS_PATH: ("title,-created_at", "-updated_at,-title"),
}


def _sort_orders_with_mixed_directions(path: str) -> tuple[str, ...]:
    """Return sort orders of a list that have several keys in different directions.

    For a list without selected orders, they are the two orders of its first two keys.
    """
    if path in SELECTED_SORT_ORDERS:
        return SELECTED_SORT_ORDERS[path]
    first, *other_keys = SORT_KEYS[path]
    return tuple(
        order for key in other_keys[:1] for order in (f"{first},-{key}", f"-{key},{first}")
    )


MIXED_SORT_ORDERS = {path: _sort_orders_with_mixed_directions(path) for path in LIST_PATHS}
PATHS_AND_SORT_ORDERS = [
    (path, sort)
    for path in LIST_PATHS
    for sort in (
        "",
        *SORT_KEYS[path],
        *(f"-{key}" for key in SORT_KEYS[path]),
        *MIXED_SORT_ORDERS[path],
    )
]


@pytest.mark.parametrize(("path", "sort"), PATHS_AND_SORT_ORDERS)
async def test_pages_contain_each_permanent_row_once_and_in_order(
    client: AsyncClient, database: Database, path: str, sort: str
) -> None:
    random = Random(f"{path} {sort}")
    table = TABLE_NAMES[path]
    rows = RandomRows(random, path)
    await rows.prepare(database)
    await rows.add(database, PERMANENT_ROWS + DELETABLE_ROWS)
    all_ids = await select_values(database, f"SELECT id FROM {table}")
    deletable_ids = random.sample(
        [id_ for id_ in all_ids if id_ not in BOOK_AUTHOR_IDS], DELETABLE_ROWS
    )
    permanent_ids = set(all_ids) - set(deletable_ids)

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        url = f"{path}?size={random.randint(1, 20)}&sort={sort}&cursor={cursor}"
        page = await get_json(client, url.replace("&sort=&", "&").removesuffix("&cursor="))
        cursor = page["next"]
        assert page["items"] or cursor is None
        assert len(seen) < MAX_ROWS, "the cursors lead back to earlier pages"
        seen += [item["id"] for item in page["items"]]
        await rows.add(database, random.randint(1, 4))
        # This often deletes the row at which the cursor is.
        deleted_ids = [
            id_ for id_ in deletable_ids if random.random() < 0.03 or str(id_) == str(seen[-1])
        ]
        await execute(database, f"DELETE FROM {table} WHERE id = ANY(:ids)", {"ids": deleted_ids})

    where = f"WHERE author_id = '{AUTHOR_ID}'" if path == AUTHOR_BOOKS_PATH else ""
    select_ids_in_order = f"SELECT id FROM {table} {where} ORDER BY {order_by_sql(sort)}"
    expected = [
        str(id_)
        for id_ in await select_values(database, select_ids_in_order)
        if id_ in permanent_ids
    ]
    permanent_ids_seen = [str(id_) for id_ in seen if str(id_) in set(expected)]
    assert permanent_ids_seen == expected
    assert len(seen) == len(set(seen))


def order_by_sql(sort: str) -> str:
    """Return the ORDER BY of a sort parameter, for example `title DESC, id DESC`.

    The id has the direction of the key before it.
    """
    keys = sort.split(",") if sort else ["created_at"]
    keys.append("-id" if keys[-1].startswith("-") else "id")
    # By default, Postgres sorts NULL last, and first in descending order, as the service does.
    return ", ".join(f"{key[1:]} DESC" if key.startswith("-") else key for key in keys)
