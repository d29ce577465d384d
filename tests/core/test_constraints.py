"""Errors for violated constraints, derived from the declarations of the mapped classes."""

from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.errors import Conflict, InvalidRequest
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author
from tests.support.library import (
    EditionRepository,
    LoanRequestRepository,
    PublisherRepository,
    TagRepository,
)
from tests.support.library_models import create_library
from tests.support.problems import check_problem
from tests.support.rows import execute, select_values

MISSING_ID = UUID(UNKNOWN_ID)
TAG_ID = UUID(int=1)
pytestmark = pytest.mark.private_database


@pytest.fixture
async def library(private_database: Database) -> Database:
    """A database with the tables of the example library."""
    await create_library(private_database)
    return private_database


def publisher(name: str) -> dict[str, Any]:
    return {"name": name, "country": "GB"}


def edition(publisher_id: UUID | None) -> dict[str, Any]:
    return {"title": "Emma", "publisher_id": publisher_id}


def loan_request(reader: str, **values: Any) -> dict[str, Any]:
    return {
        "reader": reader,
        "is_open": False,
        "shelf": None,
        "reference_of_requesting_library": None,
        "replaced_request_id": None,
        **values,
    }


def describe_field_errors(error: InvalidRequest) -> list[tuple[str | None, str, str]]:
    """Return the pointer, the code and the detail of each field error."""
    return [
        (field_error.pointer, field_error.code, field_error.detail)
        for field_error in error.field_errors
    ]


# A foreign key of the table


async def test_create_and_update_raise_error_with_pointer_when_referred_row_is_missing(
    library: Database,
) -> None:
    editions = EditionRepository(library.writes)
    with pytest.raises(InvalidRequest) as raised:
        await editions.create(edition(MISSING_ID))
    field_error = ("/publisher_id", "publisher_not_found", "There is no publisher with this id")
    assert describe_field_errors(raised.value) == [field_error]
    stored = await editions.create(edition(None))
    with pytest.raises(InvalidRequest) as raised:
        await editions.update(stored.id, {"publisher_id": MISSING_ID})
    assert describe_field_errors(raised.value) == [field_error]


async def test_batch_raises_error_with_pointer_to_each_row_whose_referred_row_is_missing(
    library: Database,
) -> None:
    publisher_id = (await PublisherRepository(library.writes).create(publisher("Penguin"))).id
    rows = [edition(publisher_id), edition(MISSING_ID), edition(None), edition(MISSING_ID)]
    with pytest.raises(InvalidRequest) as raised:
        await EditionRepository(library.writes).create_many(rows)
    assert [json_pointer for json_pointer, _, _ in describe_field_errors(raised.value)] == [
        "/items/1/publisher_id",
        "/items/3/publisher_id",
    ]
    assert await select_values(library, "SELECT count(*) FROM library_editions") == [0]


async def test_transaction_is_usable_after_batch_violates_constraint(library: Database) -> None:
    async with library.transaction() as session:
        with pytest.raises(InvalidRequest):
            await EditionRepository(session).create_many([edition(MISSING_ID)])
        [stored] = await EditionRepository(session).create_many([edition(None)])
    assert await select_values(library, "SELECT id FROM library_editions") == [stored.id]


async def test_batch_request_returns_422_with_pointer_into_its_items(client: AsyncClient) -> None:
    author = await make_author(client)
    items = [{"title": "a", "author_id": author["id"]}, {"title": "b", "author_id": UNKNOWN_ID}]
    problem = check_problem(
        await client.post("/books/batch", json={"items": items}), 422, "invalid-request"
    )
    assert problem["errors"] == [
        {
            "pointer": "/items/1/author_id",
            "code": "author_not_found",
            "detail": "There is no author with this id",
        }
    ]


async def test_batch_without_rows_returns_empty_list(library: Database) -> None:
    assert await EditionRepository(library.writes).create_many([]) == []


# Unique columns


async def test_create_and_update_raise_conflict_with_column_names_when_not_unique(
    library: Database,
) -> None:
    publishers = PublisherRepository(library.writes)
    await publishers.create(publisher("Penguin"))
    with pytest.raises(Conflict, match=r"^Another publisher has this country and name$"):
        await publishers.create(publisher("Penguin"))
    other = await publishers.create(publisher("Puffin"))
    with pytest.raises(Conflict, match=r"^Another publisher has this country and name$"):
        await publishers.update(other.id, {"name": "Penguin"})


async def test_batch_raises_conflict_with_pointers_when_items_are_not_unique(
    library: Database,
) -> None:
    publishers = PublisherRepository(library.writes)
    await publishers.create(publisher("Penguin"))
    names = ["Faber", "Penguin", "Virago", "Faber"]
    with pytest.raises(Conflict, match=r"this country and name: /items/1, /items/3$"):
        await publishers.create_many([publisher(name) for name in names])
    assert await select_values(library, "SELECT name FROM library_publishers") == ["Penguin"]


async def test_batch_error_ignores_null_in_unique_column(library: Database) -> None:
    references = [None, None, "A-1", None, "A-1"]
    rows = [
        loan_request("Ada", reference_of_requesting_library=reference) for reference in references
    ]
    with pytest.raises(Conflict, match=r"this reference_of_requesting_library: /items/4$"):
        await LoanRequestRepository(library.writes).create_many(rows)


async def test_batch_error_has_no_pointers_for_partial_unique_index(library: Database) -> None:
    requests = LoanRequestRepository(library.writes)
    await requests.create(loan_request("Ada", is_open=True))
    rows = [loan_request("Bob"), loan_request("Bob"), loan_request("Ada", is_open=True)]
    with pytest.raises(Conflict, match=r"^Another loan request has this reader$"):
        await requests.create_many(rows)


async def test_conflict_has_no_column_names_for_unique_index_on_expression(
    library: Database,
) -> None:
    requests = LoanRequestRepository(library.writes)
    await requests.create(loan_request("Ada", shelf="A"))
    rows = [loan_request("Bob", shelf="B"), loan_request("Cleo", shelf="a")]
    for write in (requests.create(rows[1]), requests.create_many(rows)):
        with pytest.raises(Conflict, match=r"^The request conflicts with the current state"):
            await write


# Names that Postgres truncates, because they have more than 63 characters


async def test_missing_row_error_has_pointer_when_name_of_foreign_key_is_truncated(
    library: Database,
) -> None:
    requests = LoanRequestRepository(library.writes)
    rows = [loan_request("Ada"), loan_request("Bob", replaced_request_id=MISSING_ID)]
    with pytest.raises(InvalidRequest) as raised:
        await requests.create(rows[1])
    assert describe_field_errors(raised.value)[0][:2] == (
        "/replaced_request_id",
        "replaced_request_not_found",
    )
    with pytest.raises(InvalidRequest) as raised:
        await requests.create_many(rows)
    assert describe_field_errors(raised.value)[0][0] == "/items/1/replaced_request_id"


async def test_conflict_has_column_name_when_name_of_unique_constraint_is_truncated(
    library: Database,
) -> None:
    requests = LoanRequestRepository(library.writes)
    await requests.create(loan_request("Ada", reference_of_requesting_library="A-1"))
    with pytest.raises(Conflict, match=r"^Another loan request has this reference_of_requesting"):
        await requests.create(loan_request("Bob", reference_of_requesting_library="A-1"))


async def test_delete_raises_conflict_when_name_of_foreign_key_is_truncated(
    library: Database,
) -> None:
    requests = LoanRequestRepository(library.writes)
    replaced = await requests.create(loan_request("Ada"))
    await requests.create(loan_request("Bob", replaced_request_id=replaced.id))
    with pytest.raises(Conflict, match=r"while library interlibrary loan requests refer to it$"):
        await requests.delete(replaced.id)


# A foreign key of another table


async def test_delete_raises_conflict_with_table_name_when_rows_refer_to_it(
    library: Database,
) -> None:
    await execute(library, f"INSERT INTO library_tags (id, name) VALUES ('{TAG_ID}', 'a')")
    stored = await EditionRepository(library.writes).create(edition(None))
    await execute(library, f"INSERT INTO library_edition_tags VALUES ('{stored.id}', '{TAG_ID}')")
    tags = TagRepository(library.writes)
    with pytest.raises(
        Conflict, match=r"^The tag cannot be deleted while library edition tags refer to it$"
    ):
        await tags.delete(TAG_ID)
