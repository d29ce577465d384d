"""Servers of two releases on one database, as they are during an upgrade."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from httpx import AsyncClient

from app import schema
from app.core.db import Database, find_database_problem
from app.tables import REQUIRED_REVISIONS
from tests.support.commands import exit_code_and_output
from tests.support.factories import make_author, make_book, make_document, make_user
from tests.support.processes import running_server
from tests.support.releases import RELEASED_REVISION, extract_last_release
from tests.support.upgrades import downgrade_schema, upgrade_schema

pytestmark = [pytest.mark.slow, pytest.mark.private_database]
# The schemas on which servers of this release run: the required one, and those after it.
USABLE_REVISIONS = sorted(
    script.revision
    for script in ScriptDirectory.from_config(schema.alembic_config()).walk_revisions(
        REQUIRED_REVISIONS[-1], "heads"
    )
)
SET_REVISION = "UPDATE alembic_version SET version_num = $1"
NEWER_REVISION = "9999"
NEWER_MESSAGE = (
    "The schema is at revision 9999, which this release does not know, because a newer release has"
    " upgraded it. Nothing was changed.\n"
)


async def use_service(client: AsyncClient) -> None:
    """Send one request of each main kind, and check that it succeeds."""
    author = await make_author(client, "Émile Zola")
    path = f"/authors/{author['id']}"
    responses = [
        await client.patch(path, json={"dob": "1840-04-02"}, headers={"If-Match": "*"}),
        await client.get("/authors", params={"q": "emile", "sort": "name"}),
        await client.post(
            "/authors", json={"name": "x"}, headers={"Idempotency-Key": author["id"]}
        ),
    ]
    book = await make_book(client, author_id=author["id"])
    user = await make_user(client, f"{author['id']}@example.com")
    login = {"username": user["email"], "password": "correct horse"}
    responses.append(await client.post("/tokens", data=login))
    headers = {"Authorization": f"Bearer {responses[-1].json()['access_token']}"}
    document = await make_document(client, content=b"content")
    responses += [
        await client.get("/users/me", headers=headers),
        await client.get("/books", params={"q": "dispossessed", "sort": "-title"}),
        await client.get("/documents", params={"sort": "name"}),
        await client.get(f"/documents/{document['id']}"),
        await client.delete(f"/documents/{document['id']}"),
        await client.delete(f"/books/{book['id']}"),
        await client.delete(path),
    ]
    assert [response.status_code for response in responses if not response.is_success] == []


@pytest.fixture
async def old_server(private_database_url: str, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of a server of the last release, on the schema that this release requires."""
    release = extract_last_release(tmp_path)
    await downgrade_schema(private_database_url, REQUIRED_REVISIONS[-1])
    environment = {"DATABASE_URL": private_database_url, "PYTHONPATH": str(release)}
    async with (
        running_server(**environment) as (_, origin),
        AsyncClient(base_url=origin, timeout=30) as client,
    ):
        yield client


async def test_last_release_serves_requests_beside_this_one_until_the_contract_revisions(
    old_server: AsyncClient, client: AsyncClient
) -> None:
    await use_service(old_server)
    book = await make_book(old_server, "Written by the old server")
    page = (await client.get("/books", params={"q": "written old"})).json()
    assert [item["id"] for item in page["items"]] == [book["id"]]
    changed = await client.patch(
        f"/books/{book['id']}", json={"title": "Renamed"}, headers={"If-Match": "*"}
    )
    assert changed.status_code == 200, changed.text
    page = (await old_server.get("/books", params={"q": "renamed"})).json()
    assert [item["id"] for item in page["items"]] == [book["id"]]


async def test_this_release_serves_requests_between_the_contract_revisions(
    client: AsyncClient, private_database_url: str
) -> None:
    await downgrade_schema(private_database_url, REQUIRED_REVISIONS[-1])
    for revision in USABLE_REVISIONS:
        await upgrade_schema(private_database_url, revision)
        assert (await client.get("/readyz")).status_code == 200
        await use_service(client)


async def test_release_is_ready_until_a_contract_revision_removes_what_it_uses(
    private_database: Database, private_database_url: str
) -> None:
    revisions_of_older_release = REQUIRED_REVISIONS[:-1]

    async def find_problem() -> str | None:
        return await find_database_problem(private_database.reads, revisions_of_older_release)

    assert await find_problem() == (
        f"database: its schema requires revision {REQUIRED_REVISIONS[-1]}, which this release does"
        " not know"
    )
    await downgrade_schema(private_database_url, REQUIRED_REVISIONS[-1])
    assert await find_problem() is None


async def test_migrate_changes_nothing_if_the_schema_is_newer(private_database_url: str) -> None:
    await set_revision(private_database_url, NEWER_REVISION)
    result = await exit_code_and_output("migrate", DATABASE_URL=private_database_url)
    assert result == (0, NEWER_MESSAGE)


async def test_migrate_expand_stops_before_the_contract_revisions(
    private_database_url: str,
) -> None:
    await downgrade_schema(private_database_url, REQUIRED_REVISIONS[-2])
    result = await exit_code_and_output("migrate", "expand", DATABASE_URL=private_database_url)
    assert result == (0, f"The schema is at {REQUIRED_REVISIONS[-1]}.\n")


async def test_migrate_to_an_older_revision_prints_the_actual_one(
    private_database_url: str,
) -> None:
    message = await upgrade_schema(private_database_url, RELEASED_REVISION)
    assert message == f"The schema is at {USABLE_REVISIONS[-1]}."


async def test_downgrade_of_a_schema_that_is_newer_fails(private_database_url: str) -> None:
    await set_revision(private_database_url, NEWER_REVISION)
    with pytest.raises(schema.SchemaIsNewer):
        await downgrade_schema(private_database_url, RELEASED_REVISION)


async def set_revision(database_url: str, revision: str) -> None:
    """Let a database seem to be at a revision."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(SET_REVISION, revision)
    await connection.close()
