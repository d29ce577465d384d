"""The expected status of every operation for every kind of caller, and a valid request for each.

The table is written independently of `app.core.access`, so that tests can compare the two.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from httpx import AsyncClient, Response

from checks.references import inline_components
from tests.support.callers import (
    PASSWORD,
    RESOURCE_IDS,
    TOKEN_IDS,
    UPLOAD_ID,
    USER_IDS,
    email_of_caller,
)
from tests.support.entities import CASES_BY_PATH, ENTITIES
from tests.support.factories import Json
from tests.support.requests import body_arguments

# Callers without a token. The names are values of the setting ANONYMOUS_ACCESS.
ANONYMOUS_CALLERS: Final = ("none", "read", "full")
# Callers with a valid token. The requested resource belongs to the owner.
VALID_TOKEN_CALLERS: Final = ("owner", "stranger", "editor", "admin")
INVALID_TOKEN_CALLERS: Final = ("expired", "revoked", "malformed")
CALLERS: Final = (*ANONYMOUS_CALLERS, *VALID_TOKEN_CALLERS, *INVALID_TOKEN_CALLERS)
# Stands for the status of success that the OpenAPI document declares for the operation.
OK: Final = 0


def _catalog_operations(*methods: str) -> str:
    """Return the operation ids of the catalog entities that have one of these methods.

    Example: `"list_authors read_author list_books read_book"` for "get". Catalog entities are
    those that the permissions `catalog:read` and `catalog:write` protect.
    """
    operations = [
        operation for case in ENTITIES if case.is_catalog for operation in case.operations.items()
    ]
    return " ".join(
        operation_id for (method, _path), operation_id in operations if method in methods
    )


READ_CATALOG: Final = _catalog_operations("get")
WRITE_CATALOG: Final = _catalog_operations("post", "patch", "delete")
# fmt: off
RULES: Final = {
    # no token, by ANONYMOUS_ACCESS | token of the owner, a stranger, an editor, an admin | invalid
    #                none  read  full   owner stranger editor admin   bad token
    "read_liveness read_readiness read_service create_token":
                   ( OK,   OK,   OK,    OK,   OK,      OK,    OK,     OK  ),
    "create_user":
                   ( OK,   OK,   OK,    OK,   OK,      OK,    OK,     401 ),
    f"{READ_CATALOG} list_author_books list_changes":
                   ( 401,  OK,   OK,    OK,   OK,      OK,    OK,     401 ),
    f"{WRITE_CATALOG} create_books":
                   ( 401,  401,  OK,    403,  403,     OK,    OK,     401 ),
    "read_user update_user delete_user":
                   ( 401,  401,  OK,    OK,   404,     404,   OK,     401 ),
    "list_users list_user_counts":
                   ( 401,  401,  OK,    403,  403,     403,   OK,     401 ),
    "list_documents create_document":
                   ( 401,  401,  OK,    OK,   OK,      OK,    OK,     401 ),
    "read_document read_document_content update_document delete_document create_upload read_upload "
    "complete_upload":
                   ( 401,  401,  OK,    OK,   404,     404,   OK,     401 ),
    "read_current_user list_tokens delete_current_token":
                   ( 401,  401,  401,   OK,   OK,      OK,    OK,     401 ),
    "delete_token":
                   ( 401,  401,  401,   OK,   404,     404,   404,    401 ),
}
# fmt: on


def _expected_statuses() -> dict[str, dict[str, int]]:
    """Return the status for each operation and caller: `{"create_user": {"none": OK, ...}}`."""
    statuses = {}
    for operation_ids, cells in RULES.items():
        *other_cells, invalid_token_cell = cells
        all_cells = [*other_cells, *[invalid_token_cell] * len(INVALID_TOKEN_CALLERS)]
        for operation_id in operation_ids.split():
            statuses[operation_id] = dict(zip(CALLERS, all_cells, strict=True))
    return statuses


EXPECTED_STATUSES: Final = _expected_statuses()
# As in the rules, so that a test can find an operation that is in two of them.
OPERATION_IDS: Final = [operation_id for ids in RULES for operation_id in ids.split()]
# The operations on resources that only their owner and administrators may see.
OWNER_OPERATIONS: Final = [
    operation_id
    for operation_id, statuses in EXPECTED_STATUSES.items()
    if statuses["stranger"] == 404
]
# The scope that a token needs for an operation, unless it follows from the method. The URLs of an
# upload allow to write its parts. None stands for any scope.
OTHER_TOKEN_SCOPES: Final = {"read_upload": "write", "delete_current_token": None}
# The operations that ignore tokens.
PUBLIC_OPERATIONS: Final = {
    operation_id
    for operation_id, statuses in EXPECTED_STATUSES.items()
    if statuses["malformed"] == OK
}
# The operations that also return 401 or 403 for other reasons than the table: a wrong password, or
# the scope of the token, and a role in the body that the caller may not set.
OTHER_REASONS: Final = {
    401: {"create_token"},
    403: EXPECTED_STATUSES.keys() - PUBLIC_OPERATIONS - {"delete_current_token"},
}

CHALLENGE: Final = 'Bearer realm="bookshelf"'
INVALID_TOKEN_CHALLENGE: Final = f'{CHALLENGE}, error="invalid_token"'
INSUFFICIENT_SCOPE_CHALLENGE: Final = f'{CHALLENGE}, error="insufficient_scope"'

_FILE: Final = {"filename": "a.txt", "content_type": "text/plain", "size": 1}
_LOGIN: Final = {"username": email_of_caller("owner"), "password": PASSWORD}
_OTHER_BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_books": {"json": {"items": [CASES_BY_PATH["/books"].create]}},
    "create_upload": {"json": _FILE},
    "create_token": {"data": _LOGIN},
    "delete_user": {"json": {"current_password": PASSWORD}},
}
# A valid body of every operation that takes one, as arguments of `client.request`:
# `{"create_author": {"json": {"name": "Virginia"}}, ...}`.
VALID_BODIES: Final = (
    {f"create_{case.singular}": body_arguments(case, case.create) for case in ENTITIES}
    | {f"update_{case.singular}": body_arguments(case, case.update) for case in ENTITIES}
    | {
        f"delete_{case.plural}": {"json": {"ids": [str(RESOURCE_IDS[case.path])]}}
        for case in ENTITIES
        if case.deletes_many
    }
    | _OTHER_BODIES
)


class Operation(NamedTuple):
    """An operation of the OpenAPI document.

    `responses` and `security` are the fields of the document. The keys of `responses` are statuses.
    """

    operation_id: str
    method: str
    path_template: str
    responses: Json
    security: list[Json] | None

    @property
    def success_status(self) -> int:
        """The status of the response to a valid request that is allowed."""
        if self.operation_id == "complete_upload":
            # The test uploads no file that could be completed.
            return 409
        return min(int(status) for status in self.responses)

    def list_problem_types(self, status: int) -> list[str]:
        """Return the documented problems with a status, for example `["forbidden"]` for 403."""
        if str(status) not in self.responses:
            return []
        content = self.responses[str(status)]["content"]["application/problem+json"]
        urns = [example["value"]["type"] for example in content["examples"].values()]
        return [urn.removeprefix("urn:problem-type:bookshelf:") for urn in urns]

    @property
    def token_scope(self) -> str | None:
        """The scope that a token needs, or None if the operation accepts a token of any scope."""
        method_scope = "read" if self.method == "get" else "write"
        return OTHER_TOKEN_SCOPES.get(self.operation_id, method_scope)

    async def send(
        self, client: AsyncClient, headers: dict[str, str], owner: str = "owner"
    ) -> Response:
        """Send a valid request for an existing resource.

        Operations on users and tokens request the user `owner` and a token of that user.
        """
        ids = {**RESOURCE_IDS, "/users": USER_IDS[owner], "/tokens": TOKEN_IDS[owner]}
        collection = "/" + self.path_template.split("/")[1]
        path = self.path_template.format(id=ids.get(collection), upload_id=UPLOAD_ID)
        arguments = dict(VALID_BODIES.get(self.operation_id, {}))
        all_headers = arguments.pop("headers", {}) | headers
        return await client.request(self.method, path, headers=all_headers, **arguments)


def parse_operations(document: Json) -> Iterator[Operation]:
    """Yield every operation of an OpenAPI document."""
    for path_template, path_item in inline_components(document)["paths"].items():
        for method, operation in path_item.items():
            yield Operation(
                operation["operationId"],
                method,
                path_template,
                operation["responses"],
                operation.get("security"),
            )
