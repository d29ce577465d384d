"""Examples for the OpenAPI document, built from the examples of the models' fields."""

from contextlib import suppress
from typing import Any, Final

from app.core.http._openapi_json import Json
from app.core.schemas import EXAMPLE_ID

# Examples of string formats, used for fields that have none of their own.
_EXAMPLES_BY_FORMAT: Final = {"uuid": str(EXAMPLE_ID), "date-time": "2026-11-21T19:47:34.120512Z"}


class MissingExample(ValueError):
    """Raised if an example cannot be built, because a field does not declare one.

    The message is the path of the field, for example `author.name`.
    """


def add_examples(operation: Json, schemas: Json) -> None:
    """Add an example to path parameters, the request body and successful responses without one.

    Optional parameters get no example here, because Swagger UI would send it.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        schemas: The named schemas of the document, to which `$ref` refers.
    """
    # Each of these objects may have the member `example`.
    parts = [parameter for parameter in operation["parameters"] if parameter["in"] == "path"]
    bodies = [operation.get("requestBody", {})]
    for status, response in operation["responses"].items():
        if status < "300":
            bodies.append(response)
    for body in bodies:
        parts += body.get("content", {}).values()
    for part in parts:
        if "example" in part:
            continue
        # A missing example must not prevent the server from starting. A test reports it.
        with suppress(MissingExample):
            part["example"] = build_example(part["schema"], schemas)


def build_example(schema: Json, schemas: Json, field_path: str = "") -> Any:
    """Return an example value for a model or a field, given its JSON schema.

    If the schema does not declare an example, it is built from the examples of the model's fields
    or the array's items. Optional fields without an example are omitted. Raises `MissingExample`
    for a required field without an example.

    Args:
        schema: The JSON schema of the model or field.
        schemas: The named schemas of the OpenAPI document, to which `$ref` refers.
        field_path: The path of the field within the model, for example `author.name`, for the
            message of `MissingExample`. It is empty for the model itself.
    """
    if "$ref" in schema:
        schema_name = schema["$ref"].rpartition("/")[2]
        return build_example(schemas[schema_name], schemas, field_path)
    # Each allowed value in `enum` or `const` can serve as an example, and so can a minimum.
    declared_values = [*schema.get("examples", ()), *schema.get("enum", ())]
    if "const" in schema:
        declared_values.append(schema["const"])
    if schema.get("type") == "integer" and "minimum" in schema:
        declared_values.append(schema["minimum"])
    if declared_values:
        return declared_values[0]
    if "items" in schema:
        return [build_example(schema["items"], schemas, field_path)]
    if "properties" in schema:
        return _build_example_object(schema, schemas, field_path)
    # A field that may be null gets an example of its other type.
    for alternative in schema.get("anyOf", ()):
        if alternative != {"type": "null"}:
            return build_example(alternative, schemas, field_path)
    if schema.get("format") not in _EXAMPLES_BY_FORMAT:
        raise MissingExample(field_path)
    return _EXAMPLES_BY_FORMAT[schema["format"]]


def _build_example_object(object_schema: Json, schemas: Json, object_path: str) -> Json:
    """Return an example of a JSON object, built from the examples of its fields.

    It contains all required fields, and the optional fields that have an example.

    Args:
        object_schema: The JSON schema of the object.
        schemas: The named schemas of the OpenAPI document, to which `$ref` refers.
        object_path: The path of the object within the model, for example `author`.
    """
    required_names = object_schema.get("required", ())
    example = {}
    for name, field_schema in object_schema["properties"].items():
        if name in required_names or "examples" in field_schema:
            field_path = f"{object_path}.{name}".removeprefix(".")
            example[name] = build_example(field_schema, schemas, field_path)
    return example
