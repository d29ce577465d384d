"""Documents the problems that an operation may respond with, and the access that it requires."""

from typing import Any, Final

from app.core import errors
from app.core.access import ALL, NONE, Permission, Role, get_scope
from app.core.http import _problem_examples as problems
from app.core.http._bodies import JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE
from app.core.http._route import Route

Json = dict[str, Any]
# Errors of every operation. Each request may be malformed HTTP, or have an unknown parameter.
_GENERAL_ERRORS: Final = (errors.InternalError, errors.InvalidRequest, errors.MalformedRequest)
# Errors of every operation that takes a body.
_BODY_ERRORS: Final = (
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.Conflict,
)


def add_general_problems(operation: Json) -> None:
    """Document the problems with which every operation may respond: 400, 422 and 500.

    The 422 response that FastAPI documents is removed, because the service never sends it.
    """
    operation["responses"].pop("422", None)
    add_problems(operation, *_GENERAL_ERRORS)


def add_implied_problems(operation: Json, method: str, path: str, route: Route) -> None:
    """Add the problems that follow from the method, the path and the body of an operation.

    For example, an operation with a path parameter may respond with 404. The declaration of a
    route lists only its other errors.
    """
    error_types: list[type[errors.ServiceError]] = []
    # Only an endpoint without dependencies never waits for a database connection.
    if route.permission != "public" or route.dependant.dependencies:
        error_types.append(errors.Overloaded)
    if "{" in path:
        error_types.append(errors.NotFound)
    if method in {"patch", "delete"}:
        error_types += [errors.PreconditionFailed, errors.Conflict]
    content = operation.get("requestBody", {}).get("content")
    if content:
        error_types += _BODY_ERRORS
        # The JSON body of a PATCH may also be sent as a merge patch.
        if method == "patch" and JSON_MEDIA_TYPE in content:
            content[MERGE_PATCH_MEDIA_TYPE] = content[JSON_MEDIA_TYPE]
    add_problems(operation, *error_types)


def add_problems(operation: Json, *error_types: type[errors.ServiceError]) -> None:
    """Add the problems of error types to the responses, which are sorted by status.

    A response that has the status of a problem already is combined with it.
    """
    responses = operation["responses"]
    for status, problem_response in problems.openapi_problem_responses(*error_types).items():
        response = responses.get(str(status))
        if response is None:
            responses[str(status)] = problem_response
        else:
            responses[str(status)] = problems.merge_problem_responses(response, problem_response)
    operation["responses"] = dict(sorted(responses.items()))


def add_access(operation: Json, permission: Permission, anonymous_access: str) -> None:
    """Document the access that a permission requires.

    The `security` of the operation states whether it needs a token. A sentence at the end of its
    description lists the roles, for example "Roles: member (only their own), admin." A public
    operation is not changed.
    """
    if permission == "public":
        return
    with_token = {"password": list[str]()}
    without_token: Json = {}
    allows_anonymous_access = get_scope(permission, anonymous_access) is not NONE
    operation["security"] = [with_token]
    if allows_anonymous_access:
        operation["security"] = [without_token, with_token]
    roles = _describe_roles(permission)
    access = f"Roles: {', '.join(roles)}."
    if allows_anonymous_access:
        access += " A token is not required."
    operation["description"] = f"{operation.get('description', '')}\n\n{access}".strip()
    add_problems(operation, errors.InvalidToken)
    some_role_is_forbidden = len(roles) < len(Role)
    if some_role_is_forbidden:
        add_problems(operation, errors.Forbidden)


def _describe_roles(permission: Permission) -> list[str]:
    """Return the roles that have a permission, such as `["editor (only their own)", "admin"]`."""
    roles = []
    for role in Role:
        scope = get_scope(permission, role)
        if scope is ALL:
            roles.append(str(role))
        elif scope is not NONE:
            roles.append(f"{role} (only their own)")
    return roles
