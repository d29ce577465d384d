"""Examples for the OpenAPI document, put together from those of the models' fields."""

from typing import Any, Final

Json = dict[str, Any]
_BY_FORMAT: Final = {
    "uuid": "0199b2f4-c0de-7000-a000-000000000000",
    "date-time": "2026-11-21T19:47:34.120512Z",
}


class MissingExample(ValueError):
    """Raised for a field that needs an example and has none; the message is its path."""


def example(schema: Json, schemas: Json, path: str = "") -> Any:
    """Return a value for a schema: its first example, or one made from examples of its parts.

    It omits optional fields without an example. Raises `MissingExample` with the path of a field
    that needs one, for example `author.name`. `path` is the path of the schema itself.
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
    # A field that may be null: the example is that of its other type.
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
