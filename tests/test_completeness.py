"""The functions of tests/support/completeness.py find gaps, which the service does not have."""

from dataclasses import replace
from datetime import datetime
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
from tests.support.responses import PAGE_FIELDS

PAGE: Json = {name: {} for name in PAGE_FIELDS}


def document_with_list(path: str, *, parameters: tuple[Json, ...] = ()) -> Json:
    """Return an OpenAPI document with one operation, which returns a page."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Page_X_"}}}
    operation = {"parameters": [*parameters], "responses": {"200": {"content": content}}}
    schemas = {"Page_X_": {"properties": PAGE}}
    return {"paths": {path: {"get": operation}}, "components": {"schemas": schemas}}


def test_uncovered_lists_names_list_without_test() -> None:
    sentence = (
        "GET /publishers returns a page, but no test covers its order, cursors and plans: "
        "add an entry for its entity to tests/support/entities.py"
    )
    assert uncovered_lists(document_with_list("/publishers"), set()) == [sentence]


def test_uncovered_lists_is_empty_when_every_list_has_a_test() -> None:
    assert uncovered_lists(document_with_list("/publishers"), {"/publishers"}) == []


def test_uncovered_lists_ignores_operation_that_returns_no_page() -> None:
    document = document_with_list("/publishers")
    document["components"]["schemas"]["Page_X_"] = {"properties": {"items": {}}}
    assert uncovered_lists(document, set()) == []


def test_uncovered_lists_names_test_of_list_that_does_not_exist() -> None:
    document = document_with_list("/publishers")
    sentence = (
        "There is a test for the list GET /journals, but no such operation returns a page: "
        "remove it from tests/support/entities.py or tests/test_entities.py"
    )
    assert uncovered_lists(document, {"/publishers", "/journals"}) == [sentence]


def test_uncovered_models_names_entity_without_test() -> None:
    sentence = (
        "Book (table books) is an Entity, but no generic test covers it: add an entry for it to "
        "tests/support/entities.py, or an exception to tests/test_entities.py"
    )
    assert uncovered_models([Author, Book], {Author}) == [sentence]


def test_uncovered_models_ignores_table_that_is_not_an_entity() -> None:
    assert uncovered_models([JobRun], set()) == []


def test_differences_from_document_names_every_field_that_differs() -> None:
    sort_keys = ["name", "-name", "email", "-email"]
    sort = {"name": "sort", "in": "query", "schema": {"items": {"enum": sort_keys}}}
    other_parameters = [{"name": name, "in": "query"} for name in ("id", "q", "city")]
    document = document_with_list("/authors", parameters=(sort, *other_parameters))
    case = replace(CASES_BY_PATH["/authors"], sorts=("name",), filters={"country": "GB"})
    ending = "in its entry: change tests/support/entities.py or the query model"
    assert differences_from_document(document, case) == [
        "sorts of GET /authors is ['email', 'name'] in the OpenAPI document, but ['name'] "
        + ending,
        f"streams of GET /authors is False in the OpenAPI document, but True {ending}",
        f"deletes_many of GET /authors is False in the OpenAPI document, but True {ending}",
        f"filters of GET /authors is ['city'] in the OpenAPI document, but ['country'] {ending}",
    ]


def test_operations_without_body_names_operation_without_valid_body() -> None:
    operation = {"operationId": "create_publisher", "requestBody": {}}
    document = {"paths": {"/publishers": {"post": operation}}}
    assert operations_without_body(document, {"create_publisher"}) == []
    sentence = (
        "create_publisher takes a body, but the access tests have no valid one: add an entry to "
        "tests/support/entities.py, or a body to VALID_BODIES of tests/support/access_table.py"
    )
    assert operations_without_body(document, set()) == [sentence]


def table_with_foreign_key(*indexes: sa.Index) -> sa.Table:
    """Return a table of imprints, each of which belongs to a publisher."""
    metadata = sa.MetaData()
    sa.Table("publishers", metadata, sa.Column("id", sa.Integer, primary_key=True))
    publisher_id: sa.Column[int] = sa.Column("publisher_id", sa.ForeignKey("publishers.id"))
    return sa.Table("imprints", metadata, publisher_id, sa.Column("name", sa.Text), *indexes)


def test_unindexed_foreign_keys_names_key_that_no_full_index_begins_with() -> None:
    sentence = (
        "imprints.publisher_id refers to publishers, but no index begins with it, so each DELETE "
        "FROM publishers scans imprints: add an index to the model and a revision"
    )
    partial_index = sa.Index("partial", "publisher_id", postgresql_where=sa.text("name <> ''"))
    second_column_index = sa.Index("second", "name", "publisher_id")
    for index in (second_column_index, partial_index):
        assert unindexed_foreign_keys([table_with_foreign_key(index)]) == [sentence]


def test_unindexed_foreign_keys_is_empty_when_index_begins_with_key() -> None:
    index = sa.Index("first", "publisher_id", "name")
    assert unindexed_foreign_keys([table_with_foreign_key(index)]) == []


class Country(BaseModel):
    """A model that is a field of another model."""

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


def test_fields_without_example_names_every_field_without_example() -> None:
    advice = "needs an example for the OpenAPI document: add Field(examples=[...]) to it"
    assert fields_without_example([PublisherRead]) == [
        f"Country.code {advice}",
        f"PublisherRead.awards {advice}",
        f"PublisherRead.motto {advice}",
    ]
