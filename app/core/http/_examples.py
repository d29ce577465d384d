"""Examples for the OpenAPI document, built from the examples of the models' fields."""

from typing import Any, Final

Json = dict[str, Any]
_BY_FORMAT: Final = {
    "uuid": "0199b2f4-c0de-7000-a000-000000000000",
    "date-time": "2026-11-21T19:47:34.120512Z",
}


class MissingExample(ValueError):
    """Raised for a field that needs an example and has none; the message is its path."""


def example(schema: Json, schemas: Json, path: str = "") -> Any:
    """Return the first example of a schema, or build one from the examples of its fields.

    Optional fields without an example are omitted.

    Args:
        schema: The JSON schema of a model or field.
        schemas: The named schemas of the document, to which `$ref` refers.
        path: The path of the schema in the model, for example `author.name`.

    Raises `MissingExample` with the path of a field that needs an example and has none.
    """
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, path)
    values = [*schema.get("examples", ()), *schema.get("enum", ())]
    if "const" in schema:
        values.append(schema["const"])
    if values:
        return values[0]
    if "items" in schema:
        return [example(schema["items"], schemas, path)]
    if "properties" in schema:
        return _example_object(schema, schemas, path)
    # A field that may be null has the example of its other type.
    for option in schema.get("anyOf", ()):
        if option != {"type": "null"}:
            return example(option, schemas, path)
    if schema.get("format") not in _BY_FORMAT:
        raise MissingExample(path)
    return _BY_FORMAT[schema["format"]]


def _example_object(schema: Json, schemas: Json, path: str) -> Json:
    return {
        name: example(part, schemas, f"{path}.{name}".removeprefix("."))
        for name, part in schema["properties"].items()
        if name in schema.get("required", ()) or "examples" in part
    }
