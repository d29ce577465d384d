"""Documents the request body of an operation in the OpenAPI document."""

from typing import Final

from app.core.http._bodies import JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE
from app.core.http._openapi_json import Json, remove_null

_FORM_MEDIA_TYPES: Final = {"multipart/form-data", "application/x-www-form-urlencoded"}


def document_body(operation: Json, method: str, schemas: Json) -> None:
    """Correct FastAPI's description of the request body of an operation, if there is one.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        method: The method of the operation, for example "patch".
        schemas: The named schemas of the document, to which `$ref` refers.
    """
    content = operation.get("requestBody", {}).get("content", {})
    for media_type in _FORM_MEDIA_TYPES & content.keys():
        _remove_null_from_fields(content[media_type]["schema"], schemas)
    if JSON_MEDIA_TYPE not in content:
        return
    schema = content[JSON_MEDIA_TYPE]["schema"]
    if "anyOf" in schema:
        # FastAPI uses the name of the parameter in Python as the title of an optional body.
        schema.pop("title", None)
        remove_null(schema)
    if method == "patch":
        # The body of a PATCH may also be sent as a JSON merge patch (RFC 7396).
        content[MERGE_PATCH_MEDIA_TYPE] = content[JSON_MEDIA_TYPE]


def copy_form_example(operation: Json, schemas: Json) -> None:
    """Copy the example of a form to the schema of the form.

    The converter of Postman collections reads it only there. It would send random values instead.
    """
    content = operation.get("requestBody", {}).get("content", {})
    for media_type_name in _FORM_MEDIA_TYPES & content.keys():
        media_type = content[media_type_name]
        if "example" in media_type:
            schema = _find_form_schema(media_type["schema"], schemas)
            schema["examples"] = [media_type["example"]]


def _remove_null_from_fields(form_schema: Json, schemas: Json) -> None:
    """Document the optional fields of a form as ones that are absent, because null is not text."""
    properties = _find_form_schema(form_schema, schemas).get("properties", {})
    for field_schema in properties.values():
        remove_null(field_schema)


def _find_form_schema(schema: Json, schemas: Json) -> Json:
    """Return the schema of a form, which is named or stands in the operation."""
    schema_name = schema.get("$ref", "").rpartition("/")[2]
    form_schema: Json = schemas.get(schema_name, schema)
    return form_schema
