"""Documents the problems that an operation may respond with, and the access that it requires."""

from typing import Any, Final

from app.core import errors
from app.core.access import ALL, NONE, Permission, Role, get_scope
from app.core.http import _problem_examples as problems
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
    """Document the errors that every operation may cause, with the statuses 400, 422 and 500.

    FastAPI's own description of the status 422 is removed, because our errors have another format.
    """
    operation["responses"].pop("422", None)
    add_problems(operation, *_GENERAL_ERRORS)


def add_implied_problems(operation: Json, method: str, path: str, route: Route) -> None:
    """Document the errors that follow from the method, the path and the body of an operation.

    For example, an operation with a path parameter may respond with 404. The endpoint does not have
    to list these errors in its declaration.
    """
    error_types: list[type[errors.ServiceError]] = []
    # Checking a token needs the database, and so do the services on which endpoints depend. If all
    # connections stay busy, the response is 503.
    needs_database = route.permission != "public" or bool(route.dependant.dependencies)
    if needs_database:
        error_types.append(errors.Overloaded)
    has_path_parameter = "{" in path
    if has_path_parameter:
        error_types.append(errors.NotFound)
    if method in {"patch", "delete"}:
        error_types += [errors.PreconditionFailed, errors.Conflict]
    if "requestBody" in operation:
        error_types += _BODY_ERRORS
    add_problems(operation, *error_types)


def add_problems(operation: Json, *error_types: type[errors.ServiceError]) -> None:
    """Document that an operation may respond with the problem details of errors.

    Errors with the same status are documented as one response. Responses are sorted by status.
    """
    responses = operation["responses"]
    problem_responses = problems.openapi_problem_responses(*error_types)
    for numeric_status, problem_response in problem_responses.items():
        status = str(numeric_status)
        if status in responses:
            responses[status] = problems.merge_problem_responses(
                responses[status], problem_response
            )
        else:
            responses[status] = problem_response
    operation["responses"] = dict(sorted(responses.items()))


def add_access(operation: Json, permission: Permission, anonymous_access: str) -> None:
    """Document who may call an operation: whether a token is required, and for which roles.

    The roles become the last sentence of the description, for example "Roles: member (only their
    own), admin." An operation with the permission "public" is not changed.
    """
    if permission == "public":
        return
    # The key is the name of the security scheme. The list of OAuth scopes is empty, because tokens
    # of this service do not have scopes.
    with_token: Json = {"password": []}
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
    descriptions = []
    for role in Role:
        scope = get_scope(permission, role)
        if scope is ALL:
            descriptions.append(str(role))
        elif scope is not NONE:
            descriptions.append(f"{role} (only their own)")
    return descriptions
