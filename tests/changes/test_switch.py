"""CHANGE_FEED=false: no endpoint, and no cost for writes. The feed can be switched on again."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient

from app import schema
from tests.support.change_feed import find_end, list_changes
from tests.support.databases import open_client
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.servers import sqlalchemy_url
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

COUNT_ENABLED = """
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'record\\_%' AND tgenabled <> 'D'
"""
CREATED = ("authors", "created", 1)


async def switch(url: str, *, enabled: bool) -> None:
    """Do what `python -m app migrate` does with this value of CHANGE_FEED."""
    await asyncio.to_thread(schema.upgrade, sqlalchemy_url(url), change_feed=enabled)


async def test_application_without_the_feed_has_no_route_and_does_not_document_it() -> None:
    settings = make_settings(UNREACHABLE_DATABASE_URL, change_feed=False)
    async with open_client(settings) as client:
        check_problem(await client.get("/changes"), 404, "not-found")
        document = (await client.get("/openapi.json")).json()
    assert "/changes" not in document["paths"]
    assert "changes" not in [tag["name"] for tag in document["tags"]]
    assert "GET /changes" not in document["info"]["description"]


@pytest.mark.private_database
async def test_migrate_switches_the_triggers_and_old_cursors_expire(
    client: AsyncClient, private_database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("UPDATE change_feed SET home = change_feed_home()")
    await make_author(client)
    after = await find_end(client)
    # Nothing changes if the triggers are in this state already.
    await switch(private_database_url, enabled=True)
    assert await list_changes(client, after) == []

    await switch(private_database_url, enabled=False)
    assert await outside_connection.fetchval(COUNT_ENABLED) == 0
    await make_author(client)
    check_problem(await client.get("/changes"), 503, "unavailable")
    await switch(private_database_url, enabled=True)
    # The change in between is missing, so no reader can continue across it.
    assert await list_changes(client) == []
    response = await client.get("/changes", params={"after": after})
    check_problem(response, 410, "cursor-expired")
    after = await find_end(client)
    await make_author(client)
    assert await list_changes(client, after) == [CREATED]
