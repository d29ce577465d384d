"""Examples for the OpenAPI document, built from the examples of the models' fields."""

from typing import Any, Final

Json = dict[str, Any]
# Examples of string formats, used for fields that have none of their own.
_EXAMPLES_BY_FORMAT: Final = {
    "uuid": "0199b2f4-c0de-7000-a000-000000000000",
    "date-time": "2026-11-21T19:47:34.120512Z",
}


class MissingExample(ValueError):
    """Raised for a field that needs an example and has none.

    The message is the path of the field, for example `author.name`.
    """


def build_example(schema: Json, schemas: Json, path: str = "") -> Any:
    """Return the first example of a schema, or build one from the examples of its fields.

    Optional fields without an example are omitted. Raises `MissingExample` for a required field
    from which no example can be built.

    Args:
        schema: The JSON schema of a model or field.
        schemas: The named schemas of the document, to which `$ref` refers.
        path: Where the schema is in the model, for example `author.name`. Only the message of
            `MissingExample` contains it.
    """
    if "$ref" in schema:
        schema_name = schema["$ref"].rpartition("/")[2]
        return build_example(schemas[schema_name], schemas, path)
    values = [*schema.get("examples", ()), *schema.get("enum", ())]
    if "const" in schema:
        values.append(schema["const"])
    if values:
        return values[0]
    if "items" in schema:
        return [build_example(schema["items"], schemas, path)]
    if "properties" in schema:
        return _example_object(schema, schemas, path)
    # A field that may be null gets the example of its other type.
    for option in schema.get("anyOf", ()):
        if option != {"type": "null"}:
            return build_example(option, schemas, path)
    if schema.get("format") not in _EXAMPLES_BY_FORMAT:
        raise MissingExample(path)
    return _EXAMPLES_BY_FORMAT[schema["format"]]


def _example_object(schema: Json, schemas: Json, path: str) -> Json:
    """Build an object of the required fields and of the optional ones that have examples."""
    required = schema.get("required", ())
    values = {}
    for name, field_schema in schema["properties"].items():
        if name in required or "examples" in field_schema:
            field_path = f"{path}.{name}".removeprefix(".")
            values[name] = build_example(field_schema, schemas, field_path)
    return values
