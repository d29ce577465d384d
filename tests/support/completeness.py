"""Finds parts of the service that the generic tests do not cover.

Each function returns one sentence for each gap, which names the gap and says how to close it.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel

from app.core.db import Base, Entity
from app.core.paging import ListQuery
from tests.support.entity_case import EntityCase
from tests.support.factories import Json
from tests.support.openapi_schemas import merge_reference
from tests.support.responses import PAGE_FIELDS

REGISTRY: Final = "tests/support/entities.py"
# The query parameters that every list may have.
_STANDARD_PARAMETERS: Final = {"id", *ListQuery.model_fields}
# Formats of which the OpenAPI document always has an example (app/core/http/_openapi_examples.py).
_KNOWN_FORMATS: Final = {"uuid", "date-time"}
# The keys of a schema that contain an example, or schemas that do.
_EXAMPLES: Final = {"examples", "enum", "const", "properties", "$ref"}


def uncovered_lists(document: Json, covered: Collection[str]) -> list[str]:
    """Find lists without tests, and tests without a list.

    `covered` are the paths of the lists that are tested, for example `"/authors"`.
    """
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


def _returns_page(path_item: Json, document: Json) -> bool:
    """Return whether GET on a path returns an object with the fields of a page."""
    success = path_item.get("get", {}).get("responses", {}).get("200", {})
    schema = success.get("content", {}).get("application/json", {}).get("schema", {})
    page = merge_reference(document, schema)
    return set(page.get("properties", ())) >= set(PAGE_FIELDS)


def uncovered_models(models: Iterable[type[Base]], covered: Collection[type[Base]]) -> list[str]:
    """Find subclasses of Entity that are not tested. `covered` are those that are."""
    return [
        f"{model.__name__} (table {model.__tablename__}) is an Entity, but no generic test covers "
        f"it: add an entry for it to {REGISTRY}, or an exception to tests/test_entities.py"
        for model in models
        if issubclass(model, Entity) and model not in covered
    ]


def differences_from_document(document: Json, case: EntityCase) -> list[str]:
    """Find differences between an entity's entry and its list in the OpenAPI document."""
    operation = document["paths"][case.path]["get"]
    parameters = {
        parameter["name"]: parameter
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    }
    # The enumeration has each sort key twice: `name` and `-name`.
    sort_values = parameters["sort"]["schema"]["items"]["enum"]
    sort_keys = {value.removeprefix("-") for value in sort_values}
    # The value of each field in the entry and in the document.
    fields: dict[str, tuple[object, object]] = {
        "sorts": (sorted(case.sorts), sorted(sort_keys)),
        "streams": (case.streams, f"{case.path}.csv" in document["paths"]),
        "deletes_many": (case.deletes_many, f"{case.path}/deletions" in document["paths"]),
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
        f"add an entry to {REGISTRY}, or a body to VALID_BODIES of tests/support/access_table.py"
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
    """Yield the first column of each index that contains all rows of a table."""
    for constraint in table.constraints:
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
            first_columns = [column.name for column in constraint.columns][:1]
            yield from first_columns
    for index in table.indexes:
        options = index.dialect_options["postgresql"]
        first = index.expressions[0]
        if options["where"] is None and not options["using"] and isinstance(first, sa.Column):
            yield first.name


def fields_without_example(models: Iterable[type[BaseModel]]) -> list[str]:
    """Find fields of responses for which the OpenAPI document cannot make an example."""
    fields = {
        f"{schema['title']}.{field_name}"
        for model in models
        for schema in _object_schemas(model.model_json_schema(mode="serialization"))
        for field_name, field_schema in schema["properties"].items()
        if not _has_example(field_schema)
    }
    return [
        f"{field} needs an example for the OpenAPI document: add Field(examples=[...]) to it"
        for field in sorted(fields)
    ]


def _object_schemas(schema: Json) -> Iterator[Json]:
    """Yield the JSON schema of a model and those of the models in its fields."""
    for object_schema in (schema, *schema.get("$defs", {}).values()):
        # Enumerations have no properties.
        if "properties" in object_schema:
            yield object_schema


def _has_example(schema: Json) -> bool:
    """Return whether the schema of a field contains an example, or one can be derived from it."""
    # A field that may be null has two types. The other one must have an example.
    for option in schema.get("anyOf", ()):
        if option != {"type": "null"} and "examples" not in schema:
            return _has_example(option)
    if "items" in schema and "examples" not in schema:
        items: Any = schema["items"]
        return _has_example(items)
    return bool(_EXAMPLES & set(schema)) or schema.get("format") in _KNOWN_FORMATS
