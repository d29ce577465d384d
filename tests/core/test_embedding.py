"""Read models that embed rows of other tables: their values and versions."""

import csv
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from httpx import AsyncClient
from sqlalchemy import text

from app.core.db import Database
from app.core.errors import NotFound, PreconditionFailed
from app.core.formats import create_writer
from app.core.paging import ListQuery, PageQuery
from app.core.preconditions import Precondition
from tests.support.database_activity import start_until_blocked
from tests.support.factories import make_book
from tests.support.library import (
    EditionRead,
    EditionRepository,
    FinedEditionRepository,
    PublisherRepository,
    ReplacingRequestRepository,
)
from tests.support.library_models import FineState, create_library
from tests.support.problems import check_problem
from tests.support.rows import execute, select_values

# The digest of an empty list, which is part of the version.
EMPTY_LIST_DIGEST = "e3b0c44298fc1c14"
# The ids of the two tags, and of other rows that a test inserts.
FIRST_ID = UUID(int=1)
SECOND_ID = UUID(int=2)


@pytest.fixture
async def library(private_database: Database) -> Database:
    """A database with the tables of the example library, and two tags."""
    await create_library(private_database)
    await execute(
        private_database,
        f"INSERT INTO library_tags (id, name) VALUES ('{FIRST_ID}', 'a'), ('{SECOND_ID}', 'b')",
    )
    return private_database


async def create_edition(library: Database, **values: Any) -> EditionRead:
    """Create an edition without publisher and tags, unless the values have them."""
    return await EditionRepository(library.writes).create(
        {"title": "Emma", "publisher_id": None, **values}
    )


async def create_publisher(library: Database, name: str = "Penguin") -> UUID:
    """Create a publisher and return its id."""
    publishers = PublisherRepository(library.writes)
    created = await publishers.create({"name": name, "country": "GB"})
    publisher_id: UUID = created.id
    return publisher_id


async def add_tags(library: Database, edition: EditionRead, *tag_ids: UUID) -> EditionRead:
    """Add tags to an edition, and return the edition with them."""
    for tag_id in tag_ids:
        await execute(
            library, f"INSERT INTO library_edition_tags VALUES ('{edition.id}', '{tag_id}')"
        )
    return await EditionRepository(library.reads).get(edition.id)


# A book with its author, over HTTP


async def test_renaming_author_changes_etags_of_books_without_writing_books(
    client: AsyncClient, database: Database
) -> None:
    book = await make_book(client)
    # The transaction that wrote the row, and its physical location.
    row_version = "SELECT books.xmin || ' ' || books.ctid::text FROM books"
    stored = await select_values(database, row_version)
    await client.patch(f"/authors/{book['author_id']}", json={"name": "U. K. Le Guin"})
    response = await client.get(
        f"/books/{book['id']}", headers={"If-None-Match": f'"{book["version"]}"'}
    )
    changed = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, f'"{changed["version"]}"')
    # The versions of the book and of its author.
    assert [book["version"][:3], changed["version"][:3]] == ["1.1", "1.2"]
    assert response.json()["updated_at"] == book["updated_at"]
    assert await select_values(database, row_version) == stored


async def test_write_with_etag_from_before_author_changed_returns_412(client: AsyncClient) -> None:
    book = await make_book(client)
    path = f"/books/{book['id']}"
    await client.patch(f"/authors/{book['author_id']}", json={"name": "U. K. Le Guin"})
    stale = {"If-Match": f'"{book["version"]}"'}
    response = await client.patch(path, json={"title": "x"}, headers=stale)
    check_problem(response, 412, "precondition-failed")
    check_problem(await client.delete(path, headers=stale), 412, "precondition-failed")
    current = {"If-Match": (await client.get(path)).headers["etag"]}
    response = await client.patch(path, json={"title": "x"}, headers=current)
    assert (response.status_code, response.json()["version"][:3]) == (200, "2.2")
    changed = {"If-Match": response.headers["etag"]}
    assert (await client.delete(path, headers=changed)).status_code == 204


async def test_version_of_listed_book_is_accepted_as_if_match(client: AsyncClient) -> None:
    await make_book(client)
    [book] = (await client.get("/books")).json()["items"]
    headers = {"If-Match": f'"{book["version"]}"'}
    assert (await client.delete(f"/books/{book['id']}", headers=headers)).status_code == 204


@pytest.mark.private_database
async def test_update_after_concurrent_change_to_new_author_returns_new_author(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    """The UPDATE waits for a lock. Its snapshot is older than the author, so it cannot join it."""
    book = await make_book(client)
    async with database.transaction() as session:
        await session.execute(text("UPDATE books SET title = 'locked'"))
        patch = await start_until_blocked(
            client.patch(f"/books/{book['id']}", json={"title": "new"}), outside_connection
        )
        await session.execute(
            text("INSERT INTO authors (id, name) VALUES (:id, 'Octavia')"), {"id": FIRST_ID}
        )
        await session.execute(
            text("UPDATE books SET author_id = :id, version = 2"), {"id": FIRST_ID}
        )
    response = await patch
    assert response.status_code == 200
    body = response.json()
    assert (body["title"], body["author"]["name"]) == ("new", "Octavia")
    assert (body["version"][:3], response.headers["etag"]) == ("3.1", f'"{body["version"]}"')


# An optional row


@pytest.mark.private_database
async def test_missing_optional_row_is_none(library: Database) -> None:
    edition = await create_edition(library)
    assert (edition.publisher, edition.version) == (None, f"1.0.{EMPTY_LIST_DIGEST}")
    assert await EditionRepository(library.reads).get(edition.id) == edition
    page = await EditionRepository(library.reads).page(ListQuery())
    assert (page.items, page.total) == ([edition], 1)


@pytest.mark.private_database
async def test_version_contains_version_of_optional_row(library: Database) -> None:
    publisher_id = await create_publisher(library)
    edition = await create_edition(library, publisher_id=publisher_id)
    assert edition.publisher is not None
    assert (edition.publisher.name, edition.version) == ("Penguin", f"1.1.{EMPTY_LIST_DIGEST}")
    publishers = PublisherRepository(library.writes)
    await publishers.update(publisher_id, {"name": "Puffin"})
    editions = EditionRepository(library.writes)
    with pytest.raises(PreconditionFailed):
        await editions.update(
            edition.id, {"title": "x"}, Precondition("is one of", [edition.version])
        )
    changed = await editions.update(
        edition.id, {"title": "x"}, Precondition("is one of", [f"1.2.{EMPTY_LIST_DIGEST}"])
    )
    assert changed.version == f"2.2.{EMPTY_LIST_DIGEST}"
    # The foreign key is set to null, which changes the version as well.
    await publishers.delete(publisher_id)
    assert (await editions.get(edition.id)).version == f"2.0.{EMPTY_LIST_DIGEST}"


@pytest.mark.private_database
async def test_update_after_concurrent_change_to_new_optional_row_returns_new_row(
    library: Database, outside_connection: asyncpg.Connection
) -> None:
    """The UPDATE waits for a lock. Its snapshot is older than the publisher."""
    edition = await create_edition(library)
    async with library.transaction() as session:
        await session.execute(text("UPDATE library_editions SET title = 'locked'"))
        update = await start_until_blocked(
            EditionRepository(library.writes).update(edition.id, {"title": "new"}),
            outside_connection,
        )
        await session.execute(
            text("INSERT INTO library_publishers VALUES (:id, 'Penguin', 'GB')"), {"id": FIRST_ID}
        )
        await session.execute(
            text("UPDATE library_editions SET publisher_id = :id, version = 2"), {"id": FIRST_ID}
        )
    updated = await update
    assert updated.publisher is not None
    assert (updated.publisher.name, updated.version) == ("Penguin", f"3.1.{EMPTY_LIST_DIGEST}")


@pytest.mark.private_database
async def test_get_many_returns_rows_in_order_of_ids(library: Database) -> None:
    editions = EditionRepository(library.writes)
    written = [
        await create_edition(library, title=title) for title in ("Emma", "Persuasion", "Emma")
    ]
    expected = [written[2], written[0], written[2]]
    assert await editions.get_many([edition.id for edition in expected]) == expected
    assert await editions.get_many([]) == []
    with pytest.raises(NotFound):
        await editions.get_many([written[0].id, FIRST_ID])


@pytest.mark.private_database
async def test_update_of_row_that_refers_to_itself_returns_new_state(library: Database) -> None:
    requests = ReplacingRequestRepository(library.writes)
    created = await requests.create({"reader": "Ada", "is_open": False})
    changes = {"reader": "Grace", "replaced_request_id": created.id}
    updated = await requests.update(created.id, changes)
    assert updated.replaced_request is not None
    assert (updated.replaced_request.reader, updated.version) == ("Grace", "2.2")
    assert await requests.get(created.id) == updated


# Embedded lists


@pytest.mark.private_database
async def test_embedded_list_is_sorted_by_primary_key(library: Database) -> None:
    edition = await add_tags(library, await create_edition(library), SECOND_ID, FIRST_ID)
    assert [(item.id, item.name) for item in edition.tags] == [(FIRST_ID, "a"), (SECOND_ID, "b")]
    page = await EditionRepository(library.reads).page(ListQuery())
    assert page.items == [edition]
    async with library.transaction() as session:
        streamed = [batch async for batch in EditionRepository(session).stream(PageQuery())]
    assert streamed == [[edition]]


@pytest.mark.private_database
async def test_every_change_of_embedded_list_changes_version(library: Database) -> None:
    editions = EditionRepository(library.writes)
    edition = await create_edition(library)
    versions = [edition.version]
    for statement in (
        f"INSERT INTO library_edition_tags VALUES ('{edition.id}', '{FIRST_ID}')",
        f"UPDATE library_edition_tags SET tag_id = '{SECOND_ID}'",
        f"UPDATE library_tags SET name = 'c', version = version + 1 WHERE id = '{SECOND_ID}'",
        f"INSERT INTO library_edition_tags VALUES ('{edition.id}', '{FIRST_ID}')",
    ):
        await execute(library, statement)
        versions.append((await editions.get(edition.id)).version)
    assert len(set(versions)) == len(versions)
    for stale in versions[:-1]:
        with pytest.raises(PreconditionFailed):
            await editions.delete(edition.id, Precondition("is one of", [stale]))
    await editions.delete(edition.id, Precondition("is one of", versions[-1:]))
    with pytest.raises(NotFound):
        await editions.get(edition.id)


@pytest.mark.private_database
async def test_embedded_list_keeps_exact_numbers_and_enums(library: Database) -> None:
    edition = await create_edition(library)
    amount = "1234567890123456789012.123456789012"
    await execute(
        library,
        "INSERT INTO library_fines (id, edition_id, amount, state)"
        f" VALUES ('{FIRST_ID}', '{edition.id}', {amount}, 'unpaid')",
    )
    fined = await FinedEditionRepository(library.reads).get(edition.id)
    [fine] = fined.fines
    assert (fine.amount, fine.state) == (Decimal(amount), FineState.UNPAID)
    await execute(library, "UPDATE library_fines SET version = 2")
    assert (await FinedEditionRepository(library.reads).get(edition.id)).version != fined.version


@pytest.mark.private_database
async def test_times_of_embedded_list_are_in_utc_in_any_server_time_zone(library: Database) -> None:
    edition = await create_edition(library)
    await execute(
        library,
        "INSERT INTO library_fines (id, edition_id, amount, state)"
        f" VALUES ('{FIRST_ID}', '{edition.id}', 1, 'unpaid')",
    )
    database = library.engine.url.database
    await execute(library, f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")
    # New connections have the setting of the database.
    await library.engine.dispose()
    [fine] = (await FinedEditionRepository(library.reads).get(edition.id)).fines
    assert fine.model_dump(mode="json")["created_at"].endswith("Z")


# CSV


@pytest.mark.private_database
async def test_csv_has_columns_for_embedded_row_and_json_for_embedded_list(
    library: Database,
) -> None:
    publisher_id = await create_publisher(library)
    with_all = await add_tags(
        library, await create_edition(library, publisher_id=publisher_id), FIRST_ID
    )
    with_none = await create_edition(library)
    writer = create_writer("csv", EditionRead)
    csv_text = (writer.header + writer.format_lines([with_all, with_none])).decode()
    first, second = csv.DictReader(StringIO(csv_text))
    assert list(first) == [
        "id",
        "title",
        "publisher_id",
        "publisher_name",
        "tags",
        "created_at",
        "updated_at",
        "version",
    ]
    assert (first["publisher_id"], first["publisher_name"]) == (str(publisher_id), "Penguin")
    assert first["tags"] == f'[{{"id": "{FIRST_ID}", "name": "a"}}]'
    assert (second["publisher_id"], second["publisher_name"], second["tags"]) == ("", "", "[]")
    assert second["version"] == with_none.version
