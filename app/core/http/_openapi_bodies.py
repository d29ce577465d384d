"""Documents the request body of an operation in the OpenAPI document."""

from app.core.http._bodies import JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE
from app.core.http._openapi_problems import Json


def document_body(operation: Json, method: str) -> None:
    """Correct FastAPI's description of the request body of an operation, if there is one.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        method: The method of the operation, for example "patch".
    """
    content = operation.get("requestBody", {}).get("content", {})
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


def remove_null(schema: Json) -> None:
    """Document an optional parameter or body as one that clients may omit, but cannot send as null.

    The schema `{"anyOf": [{"type": "string"}, {"type": "null"}]}` of a parameter, which FastAPI
    generates for `str | None`, becomes `{"type": "string"}`.
    """
    for alternative in schema.pop("anyOf", []):
        if alternative != {"type": "null"}:
            schema |= alternative
