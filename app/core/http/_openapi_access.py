"""Documents the access that an operation requires in the OpenAPI document: token and roles."""

from collections.abc import Sequence

from app.core import errors
from app.core.access import ALL, NONE, Permission, Role, get_scope
from app.core.http._openapi_json import Json
from app.core.http._openapi_problems import add_error_responses
from app.core.token_scopes import TOKEN_SCOPE_DESCRIPTIONS


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
