"""Reads an OpenAPI document."""

from typing import Any

Json = dict[str, Any]


def resolve_schema(schema: Json, schemas: Json) -> Json:
    """Return the schema that a reference names, or the schema itself."""
    if "$ref" not in schema:
        return schema
    target: Json = schemas[schema["$ref"].rpartition("/")[2]]
    return target
