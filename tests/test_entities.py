"""Every entity, list and operation is covered by the generic tests; otherwise a sentence says how.

tests/support/entities.py is the registry that these tests read.
"""

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Base
from app.core.errors import Conflict
from app.core.schemas import ReadModel
from app.tables import TABLES, metadata
from app.tokens.models import Token
from tests.support.access_table import VALID_BODIES
from tests.support.completeness import (
    differences_from_document,
    fields_without_example,
    operations_without_body,
    uncovered_lists,
    uncovered_models,
    unindexed_foreign_keys,
)
from tests.support.entities import ENTITIES
from tests.support.entity_case import EntityCase
from tests.support.factories import Json
from tests.support.requests import body_arguments, valid_body

# Lists that are not the collection of a registered entity, with their tests.
SPECIAL_LISTS = {
    "/authors/{id}/books": "BOOKS_OF_AUTHOR of tests/support/rows.py",
    "/reports/user-counts": "tests/reports/test_reports.py",
    "/tokens": "tests/tokens/test_tokens.py and tests/tokens/test_plans.py",
}
# Entities without the five standard operations, with their tests.
EXCEPTIONS: dict[type[Base], str] = {Token: "created by a login and never changed: tests/tokens"}


def unique_constraints(case: EntityCase) -> Iterator[str]:
    """The names of the constraints that a second row with the same body violates."""
    for constraint in case.table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            columns = {column.name for column in constraint.columns}
            if columns <= set(case.create):
                yield str(constraint.name)
    for index in case.table.indexes:
        # For example `lower(email)`; `lower` is not a column.
        words = {word for part in index.expressions for word in re.findall(r"\w+", str(part))}
        columns = words & set(case.table.columns.keys())
        if index.unique and columns and columns <= set(case.create):
            yield str(index.name)


UNIQUE = [(case, name) for case in ENTITIES for name in unique_constraints(case)]


@pytest.fixture
def document(application: FastAPI) -> Json:
    return application.openapi()


def read_models(base: type[ReadModel] = ReadModel) -> Iterator[type[ReadModel]]:
    """The read models of the service."""
    for model in base.__subclasses__():
        if model.__module__.startswith("app."):
            yield model
        yield from read_models(model)


def assert_no_gaps(sentences: list[str]) -> None:
    assert not sentences, "\n".join(sentences)


def test_every_list_is_covered(document: Json) -> None:
    covered = {case.path for case in ENTITIES} | set(SPECIAL_LISTS)
    assert_no_gaps(uncovered_lists(document, covered))


def test_every_entity_is_covered() -> None:
    covered = {case.model for case in ENTITIES} | set(EXCEPTIONS)
    assert_no_gaps(uncovered_models(TABLES, covered))


@pytest.mark.parametrize("case", ENTITIES, ids=lambda case: case.plural)
def test_entry_describes_list_as_document_does(document: Json, case: EntityCase) -> None:
    assert_no_gaps(differences_from_document(document, case))


def test_every_operation_has_valid_body(document: Json) -> None:
    assert_no_gaps(operations_without_body(document, VALID_BODIES))


def test_every_foreign_key_has_index() -> None:
    assert_no_gaps(unindexed_foreign_keys(metadata.sorted_tables))


def test_every_field_of_read_models_has_example() -> None:
    assert_no_gaps(fields_without_example(read_models()))


@pytest.mark.parametrize(("case", "constraint"), UNIQUE, ids=[name for _, name in UNIQUE])
async def test_second_row_with_unique_value_is_conflict_that_says_why(
    client: AsyncClient, case: EntityCase, constraint: str
) -> None:
    request = body_arguments(case, await valid_body(client, case))
    assert (await client.post(case.path, **request)).status_code == 201
    response = await client.post(case.path, **request)
    detail = response.json().get("detail")
    assert (response.status_code, detail == Conflict.detail) == (409, False), (
        f"POST {case.path} returned {response.status_code} {detail!r} for a row that violates "
        f"{constraint}, which does not say why: give the constraint an error in "
        "constraint_errors of the repository"
    )
