"""Many-to-many relationships: links between rows are replaced as a whole."""

from uuid import UUID

import pytest

from app.core.db import Database
from app.core.errors import InvalidRequest
from tests.support.library import EditionRepository, create_library
from tests.support.rows import execute, select_values

A, B, C = (UUID(int=number) for number in (1, 2, 3))
UNKNOWN = UUID(int=9)
LINKED = "SELECT tag_id FROM library_edition_tags WHERE edition_id = :id ORDER BY tag_id"
pytestmark = pytest.mark.private_database


@pytest.fixture
async def library(private_database: Database) -> Database:
    """A database with the tables of the made-up library, and three tags."""
    await create_library(private_database)
    tags = ", ".join(f"('{tag}', '{tag}')" for tag in (A, B, C))
    await execute(private_database, f"INSERT INTO library_tags (id, name) VALUES {tags}")
    return private_database


@pytest.fixture
async def edition_id(library: Database) -> UUID:
    editions = EditionRepository(library.writes)
    created: UUID = (await editions.create({"title": "Emma", "publisher_id": None})).id
    return created


async def test_links_are_replaced_as_a_whole(library: Database, edition_id: UUID) -> None:
    editions = EditionRepository(library.writes)
    for wanted in ([A, B], [B, C], [B, B], [], [A]):
        await editions.replace_links("tags", {edition_id: wanted})
        assert await select_values(library, LINKED, id=edition_id) == sorted(set(wanted))


async def test_links_of_other_rows_stay(library: Database, edition_id: UUID) -> None:
    editions = EditionRepository(library.writes)
    other_id = (await editions.create({"title": "Persuasion", "publisher_id": None})).id
    await editions.replace_links("tags", {edition_id: [A], other_id: [B]}, batch=True)
    await editions.replace_links("tags", {edition_id: []})
    assert await select_values(library, LINKED, id=other_id) == [B]


async def test_link_to_an_unknown_row_has_a_pointer(library: Database, edition_id: UUID) -> None:
    editions = EditionRepository(library.writes)
    await editions.replace_links("tags", {edition_id: [A]})
    with pytest.raises(InvalidRequest) as refused:
        await editions.replace_links("tags", {edition_id: [B, UNKNOWN]})
    [fault] = refused.value.field_errors
    assert (fault.pointer, fault.code) == ("/tag_ids/1", "tag_not_found")
    assert fault.detail == "There is no tag with this id"
    assert await select_values(library, LINKED, id=edition_id) == [A]


async def test_link_to_an_unknown_row_in_a_batch_has_a_pointer_to_the_item(
    library: Database,
) -> None:
    async with library.transaction() as session:
        editions = EditionRepository(session)
        rows = [{"title": "Emma", "publisher_id": None}] * 2
        first, second = await editions.create_many(rows)
        links = {first.id: [A], second.id: [B, UNKNOWN]}
        with pytest.raises(InvalidRequest) as refused:
            await editions.replace_links("tags", links, batch=True)
        assert [fault.pointer for fault in refused.value.field_errors] == ["/items/1/tag_ids/1"]
        await editions.replace_links("tags", {first.id: [A]})
    assert await select_values(library, LINKED, id=first.id) == [A]
