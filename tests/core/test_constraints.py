"""Errors for violated constraints, derived from the declarations of the mapped classes."""

from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.errors import Conflict, InvalidRequest
from tests.authors.test_authors import NOBODY
from tests.support.factories import make_author
from tests.support.library import (
    EditionRepository,
    LoanRequestRepository,
    PublisherRepository,
    TagRepository,
    create_library,
)
from tests.support.problems import check_problem
from tests.support.rows import execute, select_values

UNKNOWN = UUID(NOBODY)
TAG = UUID(int=1)
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


def faults_in(error: InvalidRequest) -> list[tuple[str | None, str, str]]:
    """Return the pointer, the code and the detail of each fault."""
    return [(fault.pointer, fault.code, fault.detail) for fault in error.field_errors]


# A foreign key of the table


async def test_row_that_refers_to_no_row_has_a_pointer_to_the_field(library: Database) -> None:
    editions = EditionRepository(library.writes)
    with pytest.raises(InvalidRequest) as refused:
        await editions.create(edition(UNKNOWN))
    fault = ("/publisher_id", "publisher_not_found", "There is no publisher with this id")
    assert faults_in(refused.value) == [fault]
    stored = await editions.create(edition(None))
    with pytest.raises(InvalidRequest) as refused:
        await editions.update(stored.id, {"publisher_id": UNKNOWN}, None)
    assert faults_in(refused.value) == [fault]


async def test_batch_has_a_pointer_to_each_row_that_refers_to_no_row(library: Database) -> None:
    known = (await PublisherRepository(library.writes).create(publisher("Penguin"))).id
    rows = [edition(known), edition(UNKNOWN), edition(None), edition(UNKNOWN)]
    with pytest.raises(InvalidRequest) as refused:
        await EditionRepository(library.writes).create_many(rows)
    assert [fault_pointer for fault_pointer, _, _ in faults_in(refused.value)] == [
        "/items/1/publisher_id",
        "/items/3/publisher_id",
    ]
    assert await select_values(library, "SELECT count(*) FROM library_editions") == [0]


async def test_transaction_can_continue_after_a_refused_batch(library: Database) -> None:
    async with library.transaction() as session:
        with pytest.raises(InvalidRequest):
            await EditionRepository(session).create_many([edition(UNKNOWN)])
        [stored] = await EditionRepository(session).create_many([edition(None)])
    assert await select_values(library, "SELECT id FROM library_editions") == [stored.id]


async def test_batch_over_http_has_pointers_into_its_items(client: AsyncClient) -> None:
    author = await make_author(client)
    items = [{"title": "a", "author_id": author["id"]}, {"title": "b", "author_id": NOBODY}]
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


async def test_batch_without_rows_writes_nothing(library: Database) -> None:
    assert await EditionRepository(library.writes).create_many([]) == []


# Unique columns


async def test_row_that_is_not_unique_names_the_columns(library: Database) -> None:
    publishers = PublisherRepository(library.writes)
    await publishers.create(publisher("Penguin"))
    with pytest.raises(Conflict, match=r"^Another publisher has this country and name$"):
        await publishers.create(publisher("Penguin"))
    other = await publishers.create(publisher("Puffin"))
    with pytest.raises(Conflict, match=r"^Another publisher has this country and name$"):
        await publishers.update(other.id, {"name": "Penguin"}, None)


async def test_batch_that_is_not_unique_names_the_items(library: Database) -> None:
    publishers = PublisherRepository(library.writes)
    await publishers.create(publisher("Penguin"))
    names = ["Faber", "Penguin", "Virago", "Faber"]
    with pytest.raises(Conflict, match=r"this country and name: /items/1, /items/3$"):
        await publishers.create_many([publisher(name) for name in names])
    assert await select_values(library, "SELECT name FROM library_publishers") == ["Penguin"]


async def test_null_in_a_unique_column_is_never_a_duplicate(library: Database) -> None:
    references = [None, None, "A-1", None, "A-1"]
    rows = [
        loan_request("Ada", reference_of_requesting_library=reference) for reference in references
    ]
    with pytest.raises(Conflict, match=r"this reference_of_requesting_library: /items/4$"):
        await LoanRequestRepository(library.writes).create_many(rows)


async def test_batch_names_no_items_for_an_index_that_is_unique_among_some_rows(
    library: Database,
) -> None:
    requests = LoanRequestRepository(library.writes)
    await requests.create(loan_request("Ada", is_open=True))
    rows = [loan_request("Bob"), loan_request("Bob"), loan_request("Ada", is_open=True)]
    with pytest.raises(Conflict, match=r"^Another loan request has this reader$"):
        await requests.create_many(rows)


async def test_unique_index_with_an_expression_names_no_columns(library: Database) -> None:
    requests = LoanRequestRepository(library.writes)
    await requests.create(loan_request("Ada", shelf="A"))
    rows = [loan_request("Bob", shelf="B"), loan_request("Cleo", shelf="a")]
    for write in (requests.create(rows[1]), requests.create_many(rows)):
        with pytest.raises(Conflict, match=r"^The request conflicts with the current state"):
            await write


# Names that Postgres cuts, because they have more than 63 characters


async def test_foreign_key_with_a_long_name_has_a_pointer(library: Database) -> None:
    requests = LoanRequestRepository(library.writes)
    rows = [loan_request("Ada"), loan_request("Bob", replaced_request_id=UNKNOWN)]
    with pytest.raises(InvalidRequest) as refused:
        await requests.create(rows[1])
    assert faults_in(refused.value)[0][:2] == ("/replaced_request_id", "replaced_request_not_found")
    with pytest.raises(InvalidRequest) as refused:
        await requests.create_many(rows)
    assert faults_in(refused.value)[0][0] == "/items/1/replaced_request_id"


async def test_unique_constraint_with_a_long_name_names_its_column(library: Database) -> None:
    requests = LoanRequestRepository(library.writes)
    await requests.create(loan_request("Ada", reference_of_requesting_library="A-1"))
    with pytest.raises(Conflict, match=r"^Another loan request has this reference_of_requesting"):
        await requests.create(loan_request("Bob", reference_of_requesting_library="A-1"))


async def test_deletion_is_refused_by_a_foreign_key_with_a_long_name(library: Database) -> None:
    requests = LoanRequestRepository(library.writes)
    replaced = await requests.create(loan_request("Ada"))
    await requests.create(loan_request("Bob", replaced_request_id=replaced.id))
    with pytest.raises(Conflict, match=r"while library interlibrary loan requests refer to it$"):
        await requests.delete(replaced.id, None)


# A foreign key of another table


async def test_deleting_a_row_that_others_refer_to_names_their_table(library: Database) -> None:
    await execute(library, f"INSERT INTO library_tags (id, name) VALUES ('{TAG}', 'a')")
    stored = await EditionRepository(library.writes).create(edition(None))
    await execute(library, f"INSERT INTO library_edition_tags VALUES ('{stored.id}', '{TAG}')")
    tags = TagRepository(library.writes)
    with pytest.raises(
        Conflict, match=r"^The tag cannot be deleted while library edition tags refer to it$"
    ):
        await tags.delete(TAG, None)
