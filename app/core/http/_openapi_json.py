"""Functions that several steps use to read and change the JSON of the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

# A JSON object, for example an operation or a schema.
Json = dict[str, Any]


def find_json_objects(json_value: Any) -> list[Json]:
    """Return every JSON object in a JSON value: the value itself, and objects at any depth."""
    json_objects = []
    values = [json_value]
    # The loop also visits the values that it appends, which is faster than recursive generators.
    for value in values:
        if isinstance(value, dict):
            json_objects.append(value)
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
    return json_objects


def rename_schemas(document: Json, new_names: dict[str, str]) -> None:
    """Rename schemas of an OpenAPI document, also in every `$ref`.

    Args:
        document: The OpenAPI document. It is changed.
        new_names: The new name of each schema, by its present name.
    """
    schemas = document["components"]["schemas"]
    # The order stays, because generated clients have the same order.
    renamed = {new_names.get(name, name): schema for name, schema in schemas.items()}
    schemas.clear()
    schemas.update(renamed)
    new_references = {
        f"#/components/schemas/{name}": f"#/components/schemas/{new_name}"
        for name, new_name in new_names.items()
    }
    for json_object in find_json_objects(document):
        reference = json_object.get("$ref")
        # In the `properties` of a model that has a field `$ref`, the value is not text.
        if isinstance(reference, str) and reference in new_references:
            json_object["$ref"] = new_references[reference]


def add_unused_number(name: str, used_names: Iterable[str]) -> str:
    """Return the name, or `Book2` for the name `Book` if it is used, or `Book3`, and so on."""
    unused_name = name
    number = 2
    while unused_name in used_names:
        unused_name = f"{name}{number}"
        number += 1
    return unused_name


def remove_null(schema: Json) -> None:
    """Document an optional parameter or body as one that clients may omit, but cannot send as null.

    The schema `{"anyOf": [{"type": "string"}, {"type": "null"}]}` of a parameter, which FastAPI
    generates for `str | None`, becomes `{"type": "string"}`.
    """
    alternatives = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(alternatives) == 1:
        del schema["anyOf"]
        schema |= alternatives[0]
