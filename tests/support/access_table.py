"""The contract's table of who may what, and a valid request of every operation.

It is the table written once more: none of it comes from `app.core.access`.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from httpx import AsyncClient, Response

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

ANONYMOUS_CALLERS: Final = ("none", "read", "full")  # without a token, by ANONYMOUS_ACCESS
VALID_TOKEN_CALLERS: Final = (
    "owner",
    "stranger",
    "editor",
    "admin",
)  # what is asked for is the owner's
INVALID_TOKEN_CALLERS: Final = ("expired", "revoked", "malformed")
CALLERS: Final = (*ANONYMOUS_CALLERS, *VALID_TOKEN_CALLERS, *INVALID_TOKEN_CALLERS)
OK: Final = 0  # whatever the document says of success


def _catalogue_operations(*methods: str) -> str:
    """The operations with these methods of all entities with the permissions of the catalogue."""
    cases = [case for case in ENTITIES if case.is_catalogue]
    names = [
        name for case in cases for (method, _), name in case.operations.items() if method in methods
    ]
    return " ".join(names)


READ_CATALOGUE: Final = _catalogue_operations("get")
WRITE_CATALOGUE: Final = _catalogue_operations("post", "patch", "delete")
# fmt: off
RULES: Final = {
    # without a token, by ANONYMOUS_ACCESS | with the owner's, a stranger's, an editor's, an admin's
    #                none  read  full   owner stranger editor admin   bad token
    "read_liveness read_readiness create_token":
                   ( OK,   OK,   OK,    OK,   OK,      OK,    OK,     OK  ),
    "create_user":
                   ( OK,   OK,   OK,    OK,   OK,      OK,    OK,     401 ),
    f"{READ_CATALOGUE} list_author_books":
                   ( 401,  OK,   OK,    OK,   OK,      OK,    OK,     401 ),
    f"{WRITE_CATALOGUE} create_books":
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
OPERATION_IDS: Final = [name for names in RULES for name in names.split()]
EXPECTED_STATUSES: Final = {
    name: dict(zip(CALLERS, (*cells, *cells[-1:] * (len(INVALID_TOKEN_CALLERS) - 1)), strict=True))
    for names, cells in RULES.items()
    for name in names.split()
}
OWNER_OPERATIONS: Final = [
    name for name in OPERATION_IDS if EXPECTED_STATUSES[name]["stranger"] == 404
]
# What a request may be refused for beside who sends it: a wrong password, a role that it sets.
OTHER_REASONS: Final = {401: {"create_token"}, 403: {"create_user", "update_user"}}

CHALLENGE: Final = 'Bearer realm="bookshelf"'
INVALID_TOKEN_CHALLENGE: Final = f'{CHALLENGE}, error="invalid_token"'
INSUFFICIENT_SCOPE_CHALLENGE: Final = f'{CHALLENGE}, error="insufficient_scope"'

_FILE: Final = {"filename": "a.txt", "content_type": "text/plain", "size": 1}
_LOGIN: Final = {"username": email_of_caller("owner"), "password": PASSWORD}
_OTHER_BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_books": {"json": {"items": [CASES_BY_PATH["/books"].create]}},
    "create_upload": {"json": _FILE},
    "create_token": {"data": _LOGIN},
}
# A valid body of every operation that takes one, as arguments of `client.request`.
VALID_BODIES: Final = (
    {f"create_{case.singular}": body_arguments(case, case.create) for case in ENTITIES}
    | {f"update_{case.singular}": body_arguments(case, case.update) for case in ENTITIES}
    | _OTHER_BODIES
)


class Operation(NamedTuple):
    """One of the document's."""

    operation_id: str
    method: str
    path_template: str
    responses: Json
    security: list[Json] | None

    @property
    def success_status(self) -> int:
        """The status of a valid request that is allowed."""
        if self.operation_id == "complete_upload":
            return 409  # none of its bytes has arrived
        return min(int(status) for status in self.responses)

    async def send(
        self, client: AsyncClient, headers: dict[str, str], owner: str = "owner"
    ) -> Response:
        """A valid request for what there is, of users and tokens for the owner's."""
        ids = {**RESOURCE_IDS, "/users": USER_IDS[owner], "/tokens": TOKEN_IDS[owner]}
        collection = "/" + self.path_template.split("/")[1]
        path = self.path_template.format(id=ids.get(collection), upload_id=UPLOAD_ID)
        request = dict(VALID_BODIES.get(self.operation_id, {}))
        headers = request.pop("headers", {}) | headers
        return await client.request(self.method, path, headers=headers, **request)


def parse_operations(document: Json) -> Iterator[Operation]:
    for template, item in document["paths"].items():
        for method, found in item.items():
            name, security = found["operationId"], found.get("security")
            yield Operation(name, method, template, found["responses"], security)
