"""The response headers of the OpenAPI document, to which the responses of all operations refer."""

from typing import Any, Final

from app.core.http import _conditional as conditional
from app.core.http._openapi_schemas import find_json_objects

_DESCRIPTIONS: Final = {
    "X-Request-ID": (
        "The id of the request in the service's log. It is the `X-Request-ID` of the request if the"
        " client sent a valid one: 1 to 128 visible ASCII characters."
    ),
    "Cache-Control": "States whether a cache may store the response",
    "ETag": (
        "The `version` of the resource in quotes. It can be sent in `If-Match` and `If-None-Match`."
    ),
    "Link": "Links to the `first`, `prev`, `next` and `last` page, if they are known (RFC 8288)",
    "Data-As-Of": (
        "Every change that was committed before this time (RFC 3339) is in the response. It is"
        " absent if the time is unknown, for example for data from a warehouse."
    ),
    "Location": "The URL of the created resource, or the URL to which the response redirects",
    "Content-Disposition": 'The name under which to save the file: `attachment; filename="..."`',
    "Retry-After": "The number of seconds to wait before the request is sent again",
    "Idempotency-Replayed": (
        "`true` if this is the stored response to an earlier request with the same"
        " `Idempotency-Key`. Otherwise, the header is absent."
    ),
    "WWW-Authenticate": (
        "The authentication scheme, and why the token was not accepted if there was one (RFC 6750)"
    ),
    "Accept": "The media types that the operation accepts, if it did not support that of the body",
    "Accept-Encoding": "`identity`, if the body had a Content-Encoding, which is not supported",
    "Accept-Patch": "The media types that PATCH accepts for the path (RFC 5789)",
}
_TEXT_SCHEMA: Final = {"type": "string", "maxLength": conditional.MAX_HEADER_LENGTH}
# The schemas of headers that are not just text.
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {"type": "string", "maxLength": 128, "pattern": "^[!-~]+$"},
    "Data-As-Of": {"type": "string", "format": "date-time"},
    "Location": {**_TEXT_SCHEMA, "format": "uri-reference"},
    "Retry-After": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "Idempotency-Replayed": {"type": "string", "enum": ["true"]},
}


def build_header_components() -> dict[str, Any]:
    """Return the headers of all responses by name: `{"ETag": {"schema": ..., ...}, ...}`."""
    return {
        # The schema is copied, because other modules change the document in place.
        name: {"description": description, "schema": dict(_SCHEMAS.get(name, _TEXT_SCHEMA))}
        for name, description in _DESCRIPTIONS.items()
    }


def remove_unused_headers(document: dict[str, Any]) -> None:
    """Remove the headers to which no response refers, for example if no operation redirects."""
    references = {json_object.get("$ref") for json_object in find_json_objects(document["paths"])}
    headers = document["components"]["headers"]
    for name in list(headers):
        if f"#/components/headers/{name}" not in references:
            del headers[name]


def refer_to_headers(header_names: list[str]) -> dict[str, Any]:
    """Return `{"ETag": {"$ref": "#/components/headers/ETag"}}` for `["ETag"]`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in header_names}
