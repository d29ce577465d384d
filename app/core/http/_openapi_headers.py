"""The request and response headers of the operations in the OpenAPI document."""

from typing import Final

from app.core import errors
from app.core.http import _conditional as conditional
from app.core.http._idempotency_key import (
    IDEMPOTENCY_KEY_DESCRIPTION,
    IDEMPOTENCY_KEY_HEADER,
    IDEMPOTENCY_KEY_SCHEMA,
)
from app.core.http._openapi_json import Json, find_json_objects
from app.core.http._openapi_problems import add_error_responses
from app.core.http._route import Route
from app.core.paging import Page
from app.core.schemas import ReadModel

_IF_NONE_MATCH_DESCRIPTION: Final = (
    "The ETags of the representations that the client has, or that the resource must not have. If"
    " the current ETag is one of them, also as a weak ETag (`W/`), the response to a GET is 304 and"
    " has no content, and a PATCH or DELETE does not change the resource and the response is 412."
    " `*` matches every ETag."
)
_IF_MATCH_DESCRIPTION: Final = (
    "The ETags that the resource may have. If its current ETag is not one of them, the resource is"
    " not changed and the response is 412. `*` matches every ETag. Weak ETags (`W/`) never match."
    " If a proxy makes ETags weak, send the `version` of the resource in double quotes."
)
_RESPONSE_HEADERS: Final = {
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
_SCHEMAS: Final[dict[str, Json]] = {
    "X-Request-ID": {"type": "string", "maxLength": 128, "pattern": "^[!-~]+$"},
    "Data-As-Of": {"type": "string", "format": "date-time"},
    "Location": {**_TEXT_SCHEMA, "format": "uri-reference"},
    "Retry-After": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "Idempotency-Replayed": {"type": "string", "enum": ["true"]},
}


def build_header_components() -> Json:
    """Return the headers of all responses by name: `{"ETag": {"schema": ..., ...}, ...}`."""
    return {
        # The schema is copied, because other modules change the document in place.
        name: {"description": description, "schema": dict(_SCHEMAS.get(name, _TEXT_SCHEMA))}
        for name, description in _RESPONSE_HEADERS.items()
    }


def add_request_headers(operation: Json, method: str, route: Route) -> None:
    """Document the headers Idempotency-Key, If-Match and If-None-Match where they have an effect.

    If-None-Match applies to a GET of a single resource, and both conditions to PATCH and DELETE.
    """
    if route.accepts_idempotency_key:
        _add_parameter(
            operation, IDEMPOTENCY_KEY_HEADER, IDEMPOTENCY_KEY_DESCRIPTION, IDEMPOTENCY_KEY_SCHEMA
        )
        add_error_responses(operation, errors.RequestInProgress, errors.IdempotencyKeyReused)
    is_conditional_get = method == "get" and _responds_with(route, ReadModel)
    is_conditional_write = method in {"patch", "delete"}
    tags_schema = conditional.ENTITY_TAGS_SCHEMA
    if is_conditional_write:
        _add_parameter(operation, "If-Match", _IF_MATCH_DESCRIPTION, tags_schema)
    if is_conditional_get or is_conditional_write:
        _add_parameter(operation, "If-None-Match", _IF_NONE_MATCH_DESCRIPTION, tags_schema)
    if is_conditional_get:
        operation["responses"]["304"] = {"description": "Not modified"}


def _add_parameter(operation: Json, name: str, description: str, schema: Json) -> None:
    """Document an optional request header, for example If-Match."""
    parameter = {
        "name": name,
        "in": "header",
        "description": description,
        "required": False,
        # A copy, because other modules change the document in place.
        "schema": dict(schema),
    }
    operation.setdefault("parameters", []).append(parameter)


def add_response_headers(operation: Json, route: Route) -> None:
    """Document the headers that each response of an operation may have.

    The status of a response is text, for example "404". Because every status has three digits, the
    order of these texts is the order of the numbers.
    """
    for status, response in operation["responses"].items():
        is_success = status < "300"
        is_problem = status >= "400"
        is_cacheable = status != "204"
        # The status 409 may mean that a request with the same Idempotency-Key is in progress.
        may_be_in_progress = status == "409" and route.accepts_idempotency_key
        may_have_header = {
            "X-Request-ID": True,
            "Cache-Control": is_problem or is_cacheable,
            "ETag": (is_success and _responds_with(route, ReadModel)) or status == "304",
            "Link": is_success and _responds_with(route, Page),
            "Location": route.has_location and not is_problem,
            "Retry-After": status in {"429", "503"} or may_be_in_progress,
            "Idempotency-Replayed": _may_be_replayed(status, route),
            "WWW-Authenticate": status in {"401", "403"},
            "Accept": status == "415",
            "Accept-Encoding": status == "415",
            "Accept-Patch": status == "415" and "PATCH" in (route.methods or ()),
        }
        header_names = [name for name, may_have in may_have_header.items() if may_have]
        response.setdefault("headers", {}).update(_refer_to_headers(header_names))


def _may_be_replayed(status: str, route: Route) -> bool:
    """Return whether a response may be the stored response to an earlier request.

    Errors that come before the lookup of the Idempotency-Key, such as 401 and 415, are not stored
    unless the endpoint declares that it raises them itself. Temporary errors are never stored.
    """
    if not route.accepts_idempotency_key or status == "429" or status >= "500":
        return False
    declared_statuses = {str(declared_status) for declared_status in route.responses}
    is_success = status < "300"
    return is_success or status in {"404", "409", "422", *declared_statuses}


def _responds_with(route: Route, model: type) -> bool:
    """Return whether the response model of a route is the class `model` or derived from it."""
    response_model = route.response_model
    return isinstance(response_model, type) and issubclass(response_model, model)


def add_standard_headers(operation: Json) -> None:
    """Document the headers that every response has, also a response from a library's route."""
    for response in operation["responses"].values():
        response.setdefault("headers", {}).update(_refer_to_headers(["X-Request-ID"]))


def _refer_to_headers(header_names: list[str]) -> Json:
    """Return `{"ETag": {"$ref": "#/components/headers/ETag"}}` for `["ETag"]`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in header_names}


def remove_unused_headers(document: Json) -> None:
    """Remove the headers to which no response refers, for example if no operation redirects."""
    references = {json_object.get("$ref") for json_object in find_json_objects(document)}
    headers = document["components"]["headers"]
    for name in list(headers):
        if f"#/components/headers/{name}" not in references:
            del headers[name]
