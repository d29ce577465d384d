"""Documents the problems that an operation may respond with, and the access that it requires."""

from collections.abc import Sequence
from typing import Any, Final

from app.core import errors
from app.core.access import ALL, NONE, Permission, Role, get_scope
from app.core.http._head_size_errors import RequestHeaderFieldsTooLarge, UriTooLong
from app.core.http._origin_error import OriginNotAllowed
from app.core.http._problem_examples import (
    merge_problem_responses,
    openapi_problem_responses,
    problem_types_of,
)
from app.core.http._problems import build_type
from app.core.http._route import Route
from app.core.sizes import format_size
from app.core.token_scopes import TOKEN_SCOPE_DESCRIPTIONS

Json = dict[str, Any]
# Errors of every operation. Each request may be malformed HTTP, or have an unknown parameter.
_GENERAL_ERRORS: Final = (
    errors.InternalError,
    errors.InvalidRequest,
    errors.MalformedRequest,
    RequestHeaderFieldsTooLarge,
    UriTooLong,
)
# Errors of every operation that takes a body.
_BODY_ERRORS: Final = (errors.RequestTimeout, errors.UnsupportedMediaType, errors.Conflict)


def add_general_error_responses(operation: Json) -> None:
    """Document the error responses that every operation may have, such as 400, 422 and 500.

    FastAPI's own description of the status 422 is removed, because errors of this service have
    another format.
    """
    operation["responses"].pop("422", None)
    add_error_responses(operation, *_GENERAL_ERRORS)


def add_implied_error_responses(operation: Json, method: str, path: str, route: Route) -> None:
    """Document the error responses that follow from the method, path and body of an operation.

    For example, an operation with a path parameter may respond with 404. Therefore, the declaration
    of an endpoint lists only errors that do not follow from its method, path and body.
    """
    # Also an operation without a body refuses a request that announces a large one.
    error_types: list[type[errors.ServiceError]] = [errors.PayloadTooLarge]
    # The lookup of a token needs the database, and so do the services on which endpoints depend. If
    # all database connections stay busy, the response is 503.
    needs_database = route.permission != "public" or bool(route.dependant.dependencies)
    if needs_database:
        error_types.append(errors.Overloaded)
    has_path_parameter = "{" in path
    if has_path_parameter:
        error_types.append(errors.NotFound)
    if method != "get":
        error_types.append(OriginNotAllowed)
    if method in {"patch", "delete"}:
        error_types += [errors.PreconditionFailed, errors.Conflict]
    if "requestBody" in operation:
        error_types += _BODY_ERRORS
        if not route.streams_body:
            max_size = format_size(route.body_size_limit)
            operation["requestBody"]["description"] = f"At most {max_size}."
    if route.has_large_body:
        error_types.append(errors.TooManyRequests)
    add_error_responses(operation, *error_types)


def add_error_responses(operation: Json, *error_types: type[errors.ServiceError]) -> None:
    """Document a response for each error that an operation may raise, in the OpenAPI document.

    If the operation already has a response with the status of an error, the error is added to this
    response. Afterwards, the responses of the operation are sorted by status.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        error_types: The classes of the errors, for example `NotFound`.
    """
    responses = operation["responses"]
    error_responses = openapi_problem_responses(*error_types)
    for numeric_status, error_response in error_responses.items():
        status = str(numeric_status)
        if status in responses:
            responses[status] = merge_problem_responses(responses[status], error_response)
        else:
            responses[status] = error_response
    operation["responses"] = dict(sorted(responses.items()))


def document_access(
    operation: Json, permission: Permission, token_scopes: Sequence[str], anonymous_kind: str
) -> None:
    """Document who may call an operation: which token is required, and for which roles.

    The roles become the last sentence of the description, for example "Roles: member (only their
    own), admin." An operation with the permission "public" needs no token.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        permission: The permission that the operation requires, for example "catalog:read".
        token_scopes: The scopes that the token needs, for example `["read"]`.
        anonymous_kind: The kind of callers without a token, for example "read". It is the value of
            the setting ANONYMOUS_ACCESS.
    """
    if permission == "public":
        # An empty list says that callers need no token.
        operation["security"] = []
        return
    roles = _describe_roles(permission)
    access_description = f"Roles: {', '.join(roles)}."
    # "password" is the name of the security scheme.
    operation["security"] = [{"password": list(token_scopes)}]
    token_is_optional = get_scope(permission, anonymous_kind) is not NONE
    if token_is_optional:
        without_token: Json = {}
        operation["security"].insert(0, without_token)
        access_description += " A token is not required."
    description = operation.get("description", "")
    operation["description"] = f"{description}\n\n{access_description}".strip()
    add_error_responses(operation, errors.Unauthorized)
    some_role_is_forbidden = len(roles) < len(Role)
    if some_role_is_forbidden or token_scopes:
        add_error_responses(operation, errors.Forbidden)


def list_problem_types(document: Json) -> None:
    """List the known problem types in the schema of problems, without excluding new ones.

    The types are those of all operations, and those of requests that match no operation.
    """
    types = {build_type(error_class) for error_class in errors.ERRORS_BY_STATUS.values()}
    for path_item in document["paths"].values():
        for operation in path_item.values():
            for response in operation["responses"].values():
                types.update(problem_types_of(response))
    schemas = document["components"]["schemas"]
    schemas["ProblemType"] = {
        "description": "The known types of problems. Later versions may add more.",
        "type": "string",
        "enum": sorted(types),
    }
    type_schema = schemas["Problem"]["properties"]["type"]
    known_type = {"$ref": "#/components/schemas/ProblemType"}
    # A limit of the length would make a generator of Pydantic models write a class for this text.
    other_type = {"type": "string"}
    schemas["Problem"]["properties"]["type"] = {
        "description": type_schema["description"],
        "anyOf": [known_type, other_type],
    }


def build_security_scheme(root_path: str, login_description: str) -> Json:
    """Return the security scheme of the access tokens, with the URL of the login.

    Without ROOT_PATH, the URL is relative to the document, so that it is also correct behind a
    proxy that adds a prefix.
    """
    token_url = f"{root_path}/tokens" if root_path else "tokens"
    return {
        "type": "oauth2",
        "description": login_description,
        "flows": {"password": {"tokenUrl": token_url, "scopes": TOKEN_SCOPE_DESCRIPTIONS}},
    }


def _describe_roles(permission: Permission) -> list[str]:
    """Return the roles that have a permission, such as `["editor (only their own)", "admin"]`."""
    descriptions = []
    for role in Role:
        scope = get_scope(permission, role)
        if scope is ALL:
            descriptions.append(str(role))
        elif scope is not NONE:
            descriptions.append(f"{role} (only their own)")
    return descriptions
