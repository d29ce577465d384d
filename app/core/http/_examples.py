"""Examples for the OpenAPI document, put together from those of the models' fields."""

from typing import Any, Final

Json = dict[str, Any]
_BY_FORMAT: Final = {
    "uuid": "0199b2f4-c0de-7000-a000-000000000000",
    "date-time": "2026-11-21T19:47:34.120512Z",
}


def example(schema: Json, schemas: Json) -> Any:
    """Return a value for a schema: its first example, or one made from examples of its parts.

    It omits optional fields without an example. Raises `ValueError` if a field needs an example.
    """
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for values in (schema.get("examples"), schema.get("enum")):
        if values:
            return values[0]
    if "const" in schema:
        return schema["const"]
    if "items" in schema:
        return [example(schema["items"], schemas)]
    if "properties" in schema:
        return {
            name: example(part, schemas)
            for name, part in schema["properties"].items()
            if name in schema.get("required", ()) or "examples" in part
        }
    if schema.get("format") not in _BY_FORMAT:
        raise ValueError(f"{schema.get('title')} needs examples")
    return _BY_FORMAT[schema["format"]]
