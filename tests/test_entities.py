"""The generic tests cover every entity, list and operation.

A failed test prints one sentence for each gap, which says how to close it. The registry of the
covered entities is tests/support/entities.py.
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
from checks.references import inline_components
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
    "/authors/{id}/books": "AUTHOR_BOOKS_PATH of tests/support/rows.py",
    "/reports/user-counts": "tests/reports/test_reports.py",
    "/tokens": "tests/tokens/test_tokens.py and tests/tokens/test_plans.py",
}
# Entities without the five standard operations, with their tests.
EXCEPTIONS: dict[type[Base], str] = {Token: "created by a login and never changed: tests/tokens"}


def violated_constraints(case: EntityCase) -> Iterator[str]:
    """Yield the names of the unique constraints that a second POST with the same body violates."""
    for constraint in case.table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            columns = {column.name for column in constraint.columns}
            if columns <= set(case.create):
                yield str(constraint.name)
    for index in case.table.indexes:
        # An expression may call functions: `lower(email)` uses the column `email`.
        words: set[str] = set()
        for expression in index.expressions:
            words.update(re.findall(r"\w+", str(expression)))
        columns = words & set(case.table.columns.keys())
        if index.unique and columns and columns <= set(case.create):
            yield str(index.name)


UNIQUE_CONSTRAINTS = [(case, name) for case in ENTITIES for name in violated_constraints(case)]


@pytest.fixture
def document(application: FastAPI) -> Json:
    """The OpenAPI document."""
    return inline_components(application.openapi())


def read_models(base: type[ReadModel] = ReadModel) -> Iterator[type[ReadModel]]:
    """Yield the read models of the service, which are the subclasses of `base` in `app`."""
    for model in base.__subclasses__():
        if model.__module__.startswith("app."):
            yield model
        yield from read_models(model)


def assert_no_gaps(sentences: list[str]) -> None:
    """Fail with all sentences, each of which describes a gap, if there are any."""
    assert not sentences, "\n".join(sentences)


def test_generic_tests_cover_every_list(document: Json) -> None:
    covered = {case.path for case in ENTITIES} | set(SPECIAL_LISTS)
    assert_no_gaps(uncovered_lists(document, covered))


def test_generic_tests_cover_every_entity() -> None:
    covered = {case.model for case in ENTITIES} | set(EXCEPTIONS)
    assert_no_gaps(uncovered_models(TABLES, covered))


@pytest.mark.parametrize("case", ENTITIES, ids=lambda case: case.plural)
def test_entry_of_entity_agrees_with_openapi_document(document: Json, case: EntityCase) -> None:
    assert_no_gaps(differences_from_document(document, case))


def test_access_tests_have_valid_body_for_every_operation(document: Json) -> None:
    assert_no_gaps(operations_without_body(document, VALID_BODIES))


def test_every_foreign_key_has_index() -> None:
    assert_no_gaps(unindexed_foreign_keys(metadata.sorted_tables))


def test_every_field_of_read_models_has_example() -> None:
    assert_no_gaps(fields_without_example(read_models()))


@pytest.mark.parametrize(
    ("case", "constraint_name"), UNIQUE_CONSTRAINTS, ids=[name for _, name in UNIQUE_CONSTRAINTS]
)
async def test_post_returns_409_with_specific_detail_when_value_is_not_unique(
    client: AsyncClient, case: EntityCase, constraint_name: str
) -> None:
    request = body_arguments(case, await valid_body(client, case))
    first_response = await client.post(case.path, **request)
    assert first_response.status_code == 201, first_response.text
    second_response = await client.post(case.path, **request)
    detail = second_response.json().get("detail")
    # `Conflict.detail` is the text of a constraint that the repository does not declare.
    detail_is_generic = detail == Conflict.detail
    assert (second_response.status_code, detail_is_generic) == (409, False), (
        f"POST {case.path} returned {second_response.status_code} {detail!r} for a row that "
        f"violates {constraint_name}, which does not say why: give the constraint an error in "
        "constraint_errors of the repository"
    )
