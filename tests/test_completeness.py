"""The checks of tests/support/completeness.py find gaps that the service does not have."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.authors.models import Author
from app.books.models import Book
from app.core.jobs import JobRun
from tests.support.completeness import (
    differences_from_document,
    fields_without_example,
    operations_without_body,
    uncovered_lists,
    uncovered_models,
    unindexed_foreign_keys,
)
from tests.support.entities import CASES_BY_PATH
from tests.support.factories import Json

PAGE: Json = {"items": {}, "total": {}, "page": {}, "size": {}, "pages": {}, "next": {}}


def document_of(path: str, *, parameters: tuple[Json, ...] = (), **success: Any) -> Json:
    """A document with one list."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Page_X_"}}, **success}
    operation = {"parameters": [*parameters], "responses": {"200": {"content": content}}}
    schemas = {"Page_X_": {"properties": PAGE}}
    return {"paths": {path: {"get": operation}}, "components": {"schemas": schemas}}


def test_uncovered_list_is_named() -> None:
    sentence = (
        "GET /publishers returns a page, but no test covers its order, cursors and plans: "
        "add an entry for its entity to tests/support/entities.py"
    )
    assert uncovered_lists(document_of("/publishers"), set()) == [sentence]


def test_covered_list_is_accepted() -> None:
    assert uncovered_lists(document_of("/publishers"), {"/publishers"}) == []


def test_operation_that_returns_no_page_is_ignored() -> None:
    document = document_of("/publishers")
    document["components"]["schemas"]["Page_X_"] = {"properties": {"items": {}}}
    assert uncovered_lists(document, set()) == []


def test_entry_of_list_that_does_not_exist_is_named() -> None:
    document = document_of("/publishers")
    sentence = (
        "There is a test for the list GET /journals, but no such operation returns a page: "
        "remove it from tests/support/entities.py or tests/test_entities.py"
    )
    assert uncovered_lists(document, {"/publishers", "/journals"}) == [sentence]


def test_uncovered_model_is_named() -> None:
    sentence = (
        "Book (table books) is an Entity, but no generic test covers it: add an entry for it to "
        "tests/support/entities.py, or an exception to tests/test_entities.py"
    )
    assert uncovered_models([Author, Book], {Author}) == [sentence]


def test_table_that_is_not_an_entity_needs_no_tests() -> None:
    assert uncovered_models([JobRun], set()) == []


def test_entry_that_differs_from_document_is_named() -> None:
    keys = ["name", "-name", "email", "-email"]
    sort = {"name": "sort", "in": "query", "schema": {"items": {"enum": keys}}}
    others = [{"name": name, "in": "query"} for name in ("id", "q", "city")]
    document = document_of("/authors", parameters=(sort, *others))
    case = replace(CASES_BY_PATH["/authors"], sorts=("name",), filters={"country": "GB"})
    entry = "in its entry: change tests/support/entities.py or the query model"
    assert differences_from_document(document, case) == [
        "sorts of GET /authors is ['email', 'name'] in the OpenAPI document, but ['name'] " + entry,
        f"streams of GET /authors is False in the OpenAPI document, but True {entry}",
        f"filters of GET /authors is ['city'] in the OpenAPI document, but ['country'] {entry}",
    ]


def test_operation_without_valid_body_is_named() -> None:
    operation = {"operationId": "create_publisher", "requestBody": {}}
    document = {"paths": {"/publishers": {"post": operation}}}
    assert operations_without_body(document, {"create_publisher"}) == []
    sentence = (
        "create_publisher takes a body, but the access tests have no valid one: add an entry to "
        "tests/support/entities.py, or a body to BODIES of tests/support/access_table.py"
    )
    assert operations_without_body(document, set()) == [sentence]


def table_with_foreign_key(*indexes: sa.Index) -> sa.Table:
    """A table of imprints, each of a publisher."""
    metadata = sa.MetaData()
    sa.Table("publishers", metadata, sa.Column("id", sa.Integer, primary_key=True))
    publisher_id: sa.Column[int] = sa.Column("publisher_id", sa.ForeignKey("publishers.id"))
    return sa.Table("imprints", metadata, publisher_id, sa.Column("name", sa.Text), *indexes)


def test_foreign_key_without_index_is_named() -> None:
    sentence = (
        "imprints.publisher_id refers to publishers, but no index begins with it, so each DELETE "
        "FROM publishers scans imprints: add an index to the model and a revision"
    )
    partial = sa.Index("partial", "publisher_id", postgresql_where=sa.text("name <> ''"))
    for index in (sa.Index("second", "name", "publisher_id"), partial):
        assert unindexed_foreign_keys([table_with_foreign_key(index)]) == [sentence]


def test_foreign_key_that_an_index_begins_with_is_accepted() -> None:
    index = sa.Index("first", "publisher_id", "name")
    assert unindexed_foreign_keys([table_with_foreign_key(index)]) == []


class Country(BaseModel):
    """A model inside another one."""

    code: str


class PublisherRead(BaseModel):
    """A read model in which some fields have no example."""

    id: UUID
    name: str = Field(examples=["Penguin"])
    country: Country
    motto: str | None
    awards: list[str]
    closed_at: datetime | None
    created_at: datetime


def test_field_without_example_is_named() -> None:
    advice = "needs an example for the OpenAPI document: add Field(examples=[...]) to it"
    assert fields_without_example([PublisherRead]) == [
        f"Country.code {advice}",
        f"PublisherRead.awards {advice}",
        f"PublisherRead.motto {advice}",
    ]
