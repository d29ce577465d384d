"""Reads an OpenAPI document."""

from typing import Any

Json = dict[str, Any]


def resolve_schema(schema: Json, schemas: Json) -> Json:
    """Return the schema that `{"$ref": "#/components/schemas/Book"}` refers to.

    A schema without `$ref` is returned unchanged. `schemas` are the schemas of the document.
    """
    if "$ref" not in schema:
        return schema
    schema_name = schema["$ref"].rpartition("/")[2]
    target: Json = schemas[schema_name]
    return target
