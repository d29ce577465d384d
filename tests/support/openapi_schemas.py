"""Reading an OpenAPI document, and checking values against its schemas."""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from tests.support.factories import Json

_PYTHON_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}
# Functions that raise ValueError for a string that does not have the format.
_FORMAT_PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "uuid": UUID,
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "email": str,
    "password": str,
    "uri-reference": str,
}


def objects_in(value: Any, location: str = "#") -> Iterator[tuple[str, Json]]:
    """Yield every JSON object in a value, with its location, such as `#/components/schemas`."""
    if isinstance(value, dict):
        yield location, value
        children = list(value.items())
    else:
        children = list(enumerate(value))
    for key, child in children:
        if isinstance(child, dict | list):
            yield from objects_in(child, f"{location}/{key}")


def merge_reference(document: Json, schema: Json) -> Json:
    """Return a schema with its `$ref` replaced by the keywords of the schema to which it refers.

    Keywords next to the `$ref` are kept. Properties are merged with those of the other schema.
    """
    if "$ref" not in schema:
        return schema
    target: Json = document
    for key in schema["$ref"].removeprefix("#/").split("/"):
        target = target[key]
    resolved = {**merge_reference(document, target), **schema}
    if "properties" in schema:
        properties = {**target["properties"], **schema["properties"]}
        resolved["properties"] = {
            name: {**target["properties"].get(name, {}), **property_schema}
            for name, property_schema in properties.items()
        }
    del resolved["$ref"]
    return resolved


def find_schema_errors(
    document: Json, schema: Json, value: Any, location: str = "value"
) -> list[str]:
    """Return why a value does not match a schema, for example `["value/name is missing"]`.

    This is stricter than JSON Schema: a member of an object has to be documented.
    """
    schema = merge_reference(document, schema)
    if "anyOf" in schema:
        errors_of_options = [
            find_schema_errors(document, option, value, location) for option in schema["anyOf"]
        ]
        if [] in errors_of_options:
            return []
        return errors_of_options[0]
    type_name = schema.get("type", "object")
    if isinstance(type_name, list):
        if value is None and "null" in type_name:
            return []
        type_name = type_name[0]
    is_boolean = isinstance(value, bool)  # which is an int in Python
    if not isinstance(value, _PYTHON_TYPES[type_name]) or is_boolean != (type_name == "boolean"):
        return [f"{location} is not of type {type_name}"]
    errors = list(_find_keyword_errors(schema, value, location))
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        errors += [f"{location}/{name} is missing" for name in set(schema["required"]) - set(value)]
        errors += [f"{location}/{name} is undocumented" for name in set(value) - set(properties)]
        for name in set(value) & set(properties):
            member_location = f"{location}/{name}"
            errors += find_schema_errors(document, properties[name], value[name], member_location)
    if isinstance(value, list):
        for index, item in enumerate(value):
            errors += find_schema_errors(document, schema["items"], item, f"{location}/{index}")
    return errors


def _find_keyword_errors(schema: Json, value: Any, location: str) -> Iterator[str]:
    """Yield why a value of the right type does not match keywords such as `maxLength`."""
    if "enum" in schema and value not in schema["enum"]:
        yield f"{location} is not one of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{location} is not {schema['const']}"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield f"{location} has {len(value)} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{location} does not match {schema['pattern']}"
        if "format" in schema:
            _FORMAT_PARSERS[schema["format"]](value)
    if isinstance(value, int):
        is_in_range = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        if not is_in_range:
            yield f"{location} is out of range"
