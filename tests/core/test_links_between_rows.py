"""`Repository.replace_links`, which replaces all links of a row in a many-to-many relationship."""

from uuid import UUID

import pytest

from app.core.db import Database
from app.core.errors import InvalidRequest
from tests.support.library import EditionRepository
from tests.support.library_models import create_library
from tests.support.rows import execute, select_values

TAG_A, TAG_B, TAG_C = (UUID(int=number) for number in (1, 2, 3))
UNKNOWN_TAG = UUID(int=9)
SELECT_LINKED_TAG_IDS = (
    "SELECT tag_id FROM library_edition_tags WHERE edition_id = :id ORDER BY tag_id"
)
pytestmark = pytest.mark.private_database


@pytest.fixture
async def library(private_database: Database) -> Database:
    """A database with the tables of the example library, and three tags."""
    await create_library(private_database)
    tags = ", ".join(f"('{tag}', '{tag}')" for tag in (TAG_A, TAG_B, TAG_C))
    await execute(private_database, f"INSERT INTO library_tags (id, name) VALUES {tags}")
    return private_database


@pytest.fixture
async def edition_id(library: Database) -> UUID:
    """The id of an edition without tags."""
    editions = EditionRepository(library.writes)
    created: UUID = (await editions.create({"title": "Emma", "publisher_id": None})).id
    return created


async def test_replace_links_removes_and_adds_links(library: Database, edition_id: UUID) -> None:
    editions = EditionRepository(library.writes)
    for tag_ids in ([TAG_A, TAG_B], [TAG_B, TAG_C], [TAG_B, TAG_B], [], [TAG_A]):
        await editions.replace_links("tags", {edition_id: tag_ids})
        assert await select_values(library, SELECT_LINKED_TAG_IDS, id=edition_id) == sorted(
            set(tag_ids)
        )


async def test_replace_links_keeps_links_of_other_rows(library: Database, edition_id: UUID) -> None:
    editions = EditionRepository(library.writes)
    other_id = (await editions.create({"title": "Persuasion", "publisher_id": None})).id
    await editions.replace_links("tags", {edition_id: [TAG_A], other_id: [TAG_B]}, batch=True)
    await editions.replace_links("tags", {edition_id: []})
    assert await select_values(library, SELECT_LINKED_TAG_IDS, id=other_id) == [TAG_B]


async def test_link_to_unknown_row_raises_error_with_pointer(
    library: Database, edition_id: UUID
) -> None:
    editions = EditionRepository(library.writes)
    await editions.replace_links("tags", {edition_id: [TAG_A]})
    with pytest.raises(InvalidRequest) as raised:
        await editions.replace_links("tags", {edition_id: [TAG_B, UNKNOWN_TAG]})
    [field_error] = raised.value.field_errors
    assert (field_error.pointer, field_error.code) == ("/tag_ids/1", "tag_not_found")
    assert field_error.detail == "There is no tag with this id"
    assert await select_values(library, SELECT_LINKED_TAG_IDS, id=edition_id) == [TAG_A]


async def test_link_to_unknown_row_in_batch_raises_error_with_pointer_to_item(
    library: Database,
) -> None:
    async with library.transaction() as session:
        editions = EditionRepository(session)
        rows = [{"title": "Emma", "publisher_id": None}] * 2
        first, second = await editions.create_many(rows)
        links = {first.id: [TAG_A], second.id: [TAG_B, UNKNOWN_TAG]}
        with pytest.raises(InvalidRequest) as raised:
            await editions.replace_links("tags", links, batch=True)
        assert [field_error.pointer for field_error in raised.value.field_errors] == [
            "/items/1/tag_ids/1"
        ]
        await editions.replace_links("tags", {first.id: [TAG_A]})
    assert await select_values(library, SELECT_LINKED_TAG_IDS, id=first.id) == [TAG_A]
