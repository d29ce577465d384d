"""The change feed shows callers only the changes of what they may read."""

import pytest
from httpx import AsyncClient

from app.changes.repository import SCAN_SIZE
from app.core.cursors import encode_cursor
from app.core.db import Database
from tests.support.callers import TOKENS, USER_IDS, add_callers
from tests.support.change_feed import find_end, list_changes, read_feed
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.rows import execute

INSERT_DOCUMENTS = """
INSERT INTO documents (id, name, owner_id)
SELECT gen_random_uuid(), 'Secret', :owner_id FROM generate_series(1, :count)
"""
DOCUMENTS = [("documents", "created", 1)] * 2


@pytest.fixture
async def callers(client: AsyncClient, database: Database) -> dict[str, AsyncClient]:
    """The clients of all callers, after the owner has created two documents and an author."""
    await add_callers(database)
    await execute(database, INSERT_DOCUMENTS, {"owner_id": USER_IDS["owner"], "count": 2})
    await make_author(client)
    clients = {}
    for name, token in TOKENS.items():
        headers = {"Authorization": f"Bearer {token}"}
        clients[name] = AsyncClient(
            transport=client._transport, base_url="http://test", headers=headers
        )
    return clients


async def test_members_see_their_own_documents_and_account_and_the_catalog(
    callers: dict[str, AsyncClient],
) -> None:
    account = ("users", "created", 1)
    author = ("authors", "created", 1)
    assert await list_changes(callers["owner"]) == [account, *DOCUMENTS, author]
    assert await list_changes(callers["stranger"]) == [account, author]
    assert await list_changes(callers["editor"]) == [account, author]
    assert await list_changes(callers["admin"]) == [*[account] * 5, *DOCUMENTS, author]


async def test_number_of_invisible_changes_does_not_shorten_a_page(
    client: AsyncClient, callers: dict[str, AsyncClient], database: Database
) -> None:
    stranger = callers["stranger"]
    after = (await read_feed(stranger, "now"))["next"]
    count = 2 * SCAN_SIZE + 5
    await execute(database, INSERT_DOCUMENTS, {"owner_id": USER_IDS["owner"], "count": count})
    await make_author(client)
    feed = await read_feed(stranger, after, size="1")
    assert [item["entity"] for item in feed["items"]] == ["authors"]


async def test_cursor_reveals_nothing_and_differs_at_each_request(
    callers: dict[str, AsyncClient],
) -> None:
    cursors = {(await read_feed(callers["stranger"], "now"))["next"] for _ in range(3)}
    assert len(cursors) == 3
    assert len({len(cursor) for cursor in cursors}) == 1


async def test_cursor_of_another_user_or_of_other_permissions_is_expired(
    callers: dict[str, AsyncClient], database: Database
) -> None:
    after = (await read_feed(callers["owner"]))["next"]
    response = await callers["stranger"].get("/changes", params={"after": after})
    check_problem(response, 410, "cursor-expired")
    assert await list_changes(callers["owner"], after) == []
    promote = "UPDATE users SET role = 'admin' WHERE id = :id"
    await execute(database, promote, {"id": USER_IDS["owner"]})
    response = await callers["owner"].get("/changes", params={"after": after})
    check_problem(response, 410, "cursor-expired")


async def test_text_that_is_not_a_cursor_of_the_feed_is_an_invalid_request(
    client: AsyncClient,
) -> None:
    for _ in range(2):
        await make_author(client)
    cursor_of_list = (await client.get("/authors?size=1")).json()["next"]
    forged_cursor = encode_cursor(["x"], "changes")
    for after in ("x", "NOW", "AAAA", "é", "a" * 500, forged_cursor, cursor_of_list):
        response = await client.get("/changes", params={"after": after})
        problem = check_problem(response, 422, "invalid-request")
        assert [error["parameter"] for error in problem["errors"]] == ["after"]


async def test_cursor_that_was_changed_is_expired(client: AsyncClient) -> None:
    cursor = await find_end(client)
    for position in (0, 20, 55):
        letter = "B" if cursor[position] == "A" else "A"
        after = cursor[:position] + letter + cursor[position + 1 :]
        response = await client.get("/changes", params={"after": after})
        check_problem(response, 410, "cursor-expired")
