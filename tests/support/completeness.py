"""Checks that the generic tests cover every part of the service.

Each check returns one sentence for each gap, which names the gap and says what to do.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel

from app.core.db import Base, Entity
from app.core.paging import ListQuery
from tests.support.entity_case import EntityCase, Json
from tests.support.openapi import resolve_schema

REGISTRY: Final = "tests/support/entities.py"
_PAGE_FIELDS: Final = {"items", "total", "page", "size", "pages", "next"}
# The query parameters that every list may have.
_STANDARD_PARAMETERS: Final = {"id", *ListQuery.model_fields}
# Formats of which the OpenAPI document always has an example (app/core/http/_examples.py).
_KNOWN_FORMATS: Final = {"uuid", "date-time"}
# The keys of a schema that contain an example, or schemas that do.
_EXAMPLES: Final = {"examples", "enum", "const", "properties", "$ref"}


def uncovered_lists(document: Json, covered: Collection[str]) -> list[str]:
    """Find lists without tests, and tests without a list. `covered` has the tested paths."""
    lists = [path for path, item in document["paths"].items() if _returns_page(item, document)]
    return [
        f"GET {path} returns a page, but no test covers its order, cursors and plans: "
        f"add an entry for its entity to {REGISTRY}"
        for path in lists
        if path not in covered
    ] + [
        f"There is a test for the list GET {path}, but no such operation returns a page: "
        f"remove it from {REGISTRY} or tests/test_entities.py"
        for path in covered
        if path not in lists
    ]


def _returns_page(item: Json, document: Json) -> bool:
    success = item.get("get", {}).get("responses", {}).get("200", {})
    schema = success.get("content", {}).get("application/json", {}).get("schema", {})
    page = resolve_schema(schema, document.get("components", {}).get("schemas", {}))
    return set(page.get("properties", ())) >= _PAGE_FIELDS


def uncovered_models(models: Iterable[type[Base]], covered: Collection[type[Base]]) -> list[str]:
    """Find mapped classes that derive from Entity and have neither an entry nor an exception."""
    return [
        f"{model.__name__} (table {model.__tablename__}) is an Entity, but no generic test covers "
        f"it: add an entry for it to {REGISTRY}, or an exception to tests/test_entities.py"
        for model in models
        if issubclass(model, Entity) and model not in covered
    ]


def differences_from_document(document: Json, case: EntityCase) -> list[str]:
    """Find differences between an entity's entry and its list in the OpenAPI document."""
    operation = document["paths"][case.path]["get"]
    parameters = {part["name"]: part for part in operation["parameters"] if part["in"] == "query"}
    keys = parameters["sort"]["schema"]["items"]["enum"]
    content = operation["responses"]["200"]["content"]
    # The value of each field in the entry and in the document.
    fields: dict[str, tuple[object, object]] = {
        "sorts": (sorted(case.sorts), sorted({key.removeprefix("-") for key in keys})),
        "streams": (case.streams, "text/csv" in content),
        "filters": (sorted(case.filters), sorted(set(parameters) - _STANDARD_PARAMETERS)),
        "has_id_filter": (case.has_id_filter, "id" in parameters),
        "search_word": (case.search_word is not None, "q" in parameters),
        "search_column": (case.search_column is not None, "q" in parameters),
    }
    return [
        f"{name} of GET {case.path} is {actual} in the OpenAPI document, but {expected} in its "
        f"entry: change {REGISTRY} or the query model"
        for name, (expected, actual) in fields.items()
        if expected != actual
    ]


def operations_without_body(document: Json, bodies: Collection[str]) -> list[str]:
    """Find operations that take a body for which the access tests have no valid example."""
    return [
        f"{operation['operationId']} takes a body, but the access tests have no valid one: "
        f"add an entry to {REGISTRY}, or a body to BODIES of tests/support/access_table.py"
        for item in document["paths"].values()
        for operation in item.values()
        if "requestBody" in operation and operation["operationId"] not in bodies
    ]


def unindexed_foreign_keys(tables: Iterable[sa.Table]) -> list[str]:
    """Find foreign keys without an index. A DELETE of the referenced row would scan the table."""
    keys = [(table, key) for table in tables for key in table.foreign_keys]
    return [
        f"{table.name}.{key.parent.name} refers to {key.column.table.name}, but no index begins "
        f"with it, so each DELETE FROM {key.column.table.name} scans {table.name}: add an index "
        "to the model and a revision"
        for table, key in keys
        if key.parent.name not in set(_first_columns(table))
    ]


def _first_columns(table: sa.Table) -> Iterator[str]:
    """Yield the columns with which an index of all rows begins."""
    for constraint in table.constraints:
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
            yield from [column.name for column in constraint.columns][:1]
    for index in table.indexes:
        options = index.dialect_options["postgresql"]
        first = index.expressions[0]
        if options["where"] is None and not options["using"] and isinstance(first, sa.Column):
            yield first.name


def fields_without_example(models: Iterable[type[BaseModel]]) -> list[str]:
    """Find fields of responses for which the OpenAPI document cannot make an example."""
    places = {
        f"{owner['title']}.{name}"
        for model in models
        for owner in _object_schemas(model.model_json_schema(mode="serialization"))
        for name, part in owner["properties"].items()
        if not _has_example(part)
    }
    return [
        f"{place} needs an example for the OpenAPI document: add Field(examples=[...]) to it"
        for place in sorted(places)
    ]


def _object_schemas(schema: Json) -> Iterator[Json]:
    """Yield the schema of a model and those of the models in its fields."""
    for part in (schema, *schema.get("$defs", {}).values()):
        if "properties" in part:
            yield part


def _has_example(schema: Json) -> bool:
    # A field that may be null has the example of its other type.
    for option in schema.get("anyOf", ()):
        if option != {"type": "null"} and "examples" not in schema:
            return _has_example(option)
    if "items" in schema and "examples" not in schema:
        items: Any = schema["items"]
        return _has_example(items)
    return bool(_EXAMPLES & set(schema)) or schema.get("format") in _KNOWN_FORMATS
