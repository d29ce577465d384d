"""Completes the schemas of the OpenAPI document that FastAPI generates, and removes what is noise.

Each function works on schemas of any model, so it does not need to know the domain.
"""

import re
from typing import Any, Final

from app.core.http._openapi_json import (
    Json,
    add_unused_number,
    find_json_objects,
    remove_null,
    rename_schemas,
)
from app.core.schemas import MAX_INT64, SETTING_LIMITS_KEY
from app.settings import Settings

# The length of the longest string of each format, in characters.
_MAX_LENGTHS: Final = {"uuid": 36, "date": 10, "date-time": 32}
_MAX_INT32: Final = 2**31 - 1


def complete_schemas(document: Json, settings: Settings) -> None:
    """Complete all schemas of an OpenAPI document, which is changed in place.

    Args:
        document: The OpenAPI document.
        settings: They determine the limits of some fields.
    """
    _remove_generated_titles(document)
    _name_generic_models(document)
    for json_object in find_json_objects(document):
        _write_null_as_type(json_object)
        _apply_setting_limits(json_object, settings)
        _add_max_length(json_object)
        _write_bounds_as_integers(json_object)
        _add_integer_format(json_object)
        _name_enum_members(json_object)


def _name_generic_models(document: Json) -> None:
    """Give the schemas of generic models a plain name: `Page_BookRead_` becomes `BookPage`."""
    schemas = document["components"]["schemas"]
    new_names: dict[str, str] = {}
    for name in schemas:
        match = re.fullmatch(r"([A-Za-z]+)_([A-Za-z]+)_", name)
        if match:
            generic_name, item_name = match.groups()
            new_name = item_name.removesuffix("Read") + generic_name
            new_names[name] = add_unused_number(new_name, {*schemas, *new_names.values()})
    rename_schemas(document, new_names)


def _remove_generated_titles(document: Json) -> None:
    """Remove titles that repeat a name: "Author Id" for `author_id`, and "Book" for the class.

    Pydantic generates them. A title that a model declares is kept.
    """
    for json_object in find_json_objects(document):
        named_schemas = {**json_object.get("schemas", {}), **json_object.get("properties", {})}
        if isinstance(json_object.get("name"), str):
            # A parameter.
            named_schemas[json_object["name"]] = json_object.get("schema")
        for name, schema in named_schemas.items():
            if isinstance(schema, dict) and _is_generated_title(schema.get("title"), name):
                del schema["title"]


def _is_generated_title(title: Any, name: str) -> bool:
    """Return whether a title has the same letters as a name: `Page[Book]` and `Page_Book_`."""
    if not isinstance(title, str):
        return False
    return re.sub(r"\W|_", "", title).lower() == re.sub(r"\W|_", "", name).lower()


def _apply_setting_limits(schema: Json, settings: Settings) -> None:
    """Set the limits of a schema that depend on settings.

    `{"x-setting-limits": {"maximum": "token_ttl"}}` becomes `{"maximum": 2592000}`.
    """
    for keyword, setting_name in schema.pop(SETTING_LIMITS_KEY, {}).items():
        schema[keyword] = getattr(settings, setting_name)


def _add_max_length(schema: Json) -> None:
    """Add `"maxLength": 36` to the schema of a UUID, and the like for dates and times."""
    string_format = schema.get("format")
    # In the `properties` of a model that has a field `format`, the value is not text.
    if isinstance(string_format, str) and string_format in _MAX_LENGTHS:
        schema.setdefault("maxLength", _MAX_LENGTHS[string_format])


def _write_bounds_as_integers(schema: Json) -> None:
    """Convert the bounds of a number to integers: `"maximum": 100.0` becomes `"maximum": 100`.

    FastAPI writes the bounds of all numbers, also of integers, as floats.
    """
    for keyword in ("minimum", "maximum"):
        bound = schema.get(keyword)
        # In the `properties` of a model that has a field `minimum`, the value is not a number.
        if isinstance(bound, int | float) and float(bound).is_integer():
            # The float that is nearest to MAX_INT64 is larger by 1. `min` restores the integer.
            schema[keyword] = min(int(bound), MAX_INT64)


def _add_integer_format(schema: Json) -> None:
    """Add the format `int32` or `int64`, from which generated clients choose their type.

    For example, a Java client would otherwise read the id of a user as a 32-bit integer.
    """
    if schema.get("type") in ("integer", ["integer", "null"]):
        maximum = schema.get("maximum", MAX_INT64)
        schema.setdefault("format", "int32" if maximum <= _MAX_INT32 else "int64")


def _name_enum_members(schema: Json) -> None:
    """Add names for the values of an enum if some of them cannot serve as names in a program.

    For example, `"x-enum-varnames": ["TITLE", "TITLE_DESC"]` for the sort keys `title` and
    `-title`. Generators of clients use these names.
    """
    values = schema.get("enum")
    # In the `properties` of a model that has a field `enum`, the value is not a list.
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return
    if not all(value.isidentifier() for value in values):
        schema["x-enum-varnames"] = [_build_constant_name(value) for value in values]


def _build_constant_name(value: str) -> str:
    """Return "TITLE_DESC" for the sort key "-title", and "NOT_FOUND" for "urn:...:not-found"."""
    name = value.rpartition(":")[2]
    is_descending = name.startswith("-")
    words = re.findall(r"[A-Za-z0-9]+", name)
    if is_descending:
        words.append("desc")
    return "_".join(words).upper()


def _write_null_as_type(schema: Json) -> None:
    """Write a value that may be null as one schema: `{"type": ["string", "null"]}`.

    Pydantic writes `{"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]}`, for which a
    generator of Pydantic models writes a separate class. Other keywords than `type` only limit
    values of their type, so they may stand next to null, except for `enum` and `const`.
    """
    options = schema.get("anyOf")
    if not isinstance(options, list) or {"type": "null"} not in options:
        return
    other_options = [option for option in options if option != {"type": "null"}]
    if len(other_options) > 1:
        return
    [option] = other_options
    if isinstance(option.get("type"), str) and not {"enum", "const"} & option.keys():
        del schema["anyOf"]
        schema |= {**option, "type": [option["type"], "null"]}


def document_absent_members(object_schema: Json) -> None:
    """Document members with the default None as absent, in the schema of an object.

    The service leaves these members out instead of sending null.
    """
    for schema in object_schema["properties"].values():
        if "default" in schema and schema["default"] is None:
            del schema["default"]
            remove_null(schema)
