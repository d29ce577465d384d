"""Reads whole lists by cursor, while other rows are inserted and deleted between the pages.

A row that exists during the whole time must be on exactly one page, and in the right place.
"""

from random import Random

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.random_rows import BOOK_AUTHOR_IDS, RandomRows
from tests.support.responses import get_json
from tests.support.rows import LIST_PATHS, TABLE_NAMES, execute, select_values
from tests.support.sort_orders import select_ids_in_order, sort_orders

# The number of rows at the start that stay, and of those that may be deleted.
PERMANENT_ROWS = 120
DELETABLE_ROWS = 80
# No list ever has as many rows.
MAX_ROWS = 2000

PATHS_AND_SORT_ORDERS = [(path, sort) for path in LIST_PATHS for sort in sort_orders(path)]


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
    permanent_ids = {str(id_) for id_ in all_ids} - {str(id_) for id_ in deletable_ids}

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        url = f"{path}?size={random.randint(1, 20)}&sort={sort}&cursor={cursor}"
        page = await get_json(client, url.replace("&sort=&", "&").removesuffix("&cursor="))
        cursor = page["next"]
        assert page["items"] or cursor is None
        assert len(seen) < MAX_ROWS, "the cursors lead back to earlier pages"
        seen += [str(item["id"]) for item in page["items"]]
        await rows.add(database, random.randint(1, 4))
        # This often deletes the row at which the cursor is.
        deleted_ids = [
            id_ for id_ in deletable_ids if random.random() < 0.03 or str(id_) == seen[-1]
        ]
        await execute(database, f"DELETE FROM {table} WHERE id = ANY(:ids)", {"ids": deleted_ids})

    ids_in_order = await select_values(database, select_ids_in_order(path, sort))
    expected = [str(id_) for id_ in ids_in_order if str(id_) in permanent_ids]
    assert [id_ for id_ in seen if id_ in permanent_ids] == expected
    assert len(seen) == len(set(seen))
