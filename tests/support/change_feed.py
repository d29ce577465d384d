"""Reads the change feed, as clients do."""

from httpx import AsyncClient

from app.changes.service import ChangeSweeper
from app.core.db import Database
from tests.support.factories import Json
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

# Entity, kind and version of a change.
Change = tuple[str, str, int]
# Makes all changes older than the default of CHANGE_RETENTION.
AGE_CHANGES = "UPDATE changes SET time = time - interval '8 days'"
SELECT_EPOCH = "SELECT epoch FROM change_feed"


async def read_feed(client: AsyncClient, after: str = "", **parameters: str) -> Json:
    """Return a response of the feed: its items and the next cursor."""
    if after:
        parameters["after"] = after
    response = await client.get("/changes", params=parameters)
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


async def find_end(client: AsyncClient) -> str:
    """Return the cursor of the current end of the feed."""
    feed = await read_feed(client, "now")
    assert feed["items"] == []
    next_cursor: str = feed["next"]
    return next_cursor


async def list_changes(client: AsyncClient, after: str = "") -> list[Change]:
    """Return the entity, kind and version of all changes after a cursor."""
    items = (await read_feed(client, after, size="1000"))["items"]
    return [(item["entity"], item["kind"], item["version"]) for item in items]


async def list_changed_ids(client: AsyncClient, after: str = "") -> list[str]:
    """Return the ids of all changes after a cursor."""
    return [item["id"] for item in (await read_feed(client, after, size="1000"))["items"]]


async def sweep(database: Database) -> str:
    """Do the work of the job `sweep-changes`, and return its outcome."""
    settings = make_settings(UNREACHABLE_DATABASE_URL)
    return await ChangeSweeper(database.writes, settings).sweep()
