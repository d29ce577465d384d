"""The contract's table of who may what, and a valid request of every operation.

It is the table written once more: none of it comes from `app.core.access`.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from httpx import AsyncClient, Response

from tests.callers import AUTHOR, BOOK, DOCUMENT, IDS, PASSWORD, TOKEN_IDS, UPLOAD, WRITER, email
from tests.factories import Json
from tests.forms import FORM, field, form

ANONYMOUS: Final = ("none", "read", "full")  # without a token, by ANONYMOUS_ACCESS
BEARERS: Final = ("owner", "stranger", "editor", "admin")  # what is asked for is the owner's
BAD: Final = ("expired", "revoked", "malformed")
CALLERS: Final = (*ANONYMOUS, *BEARERS, *BAD)
OK: Final = 0  # whatever the document says of success
# fmt: off
RULES: Final = {
    # without a token, by ANONYMOUS_ACCESS | with the owner's, a stranger's, an editor's, an admin's
    #                none  read  full   owner stranger editor admin   bad token
    "read_liveness read_readiness create_token":
                   ( OK,   OK,   OK,    OK,   OK,      OK,    OK,     OK  ),
    "create_user":
                   ( OK,   OK,   OK,    OK,   OK,      OK,    OK,     401 ),
    "list_authors read_author list_author_books list_books read_book":
                   ( 401,  OK,   OK,    OK,   OK,      OK,    OK,     401 ),
    "create_author update_author delete_author create_book create_books update_book delete_book":
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
NAMES: Final = [name for names in RULES for name in names.split()]
TABLE: Final = {
    name: dict(zip(CALLERS, (*cells, *cells[-1:] * (len(BAD) - 1)), strict=True))
    for names, cells in RULES.items()
    for name in names.split()
}
OWNED: Final = [name for name in NAMES if TABLE[name]["stranger"] == 404]
# What a request may be refused for beside who sends it: a wrong password, a role that it sets.
ALSO: Final = {401: {"create_token"}, 403: {"create_user", "update_user"}}

REALM: Final = 'Bearer realm="bookshelf"'
INVALID: Final = f'{REALM}, error="invalid_token"'
TOO_LOW: Final = f'{REALM}, error="insufficient_scope"'

_BOOK: Final = {"title": "Orlando", "author_id": str(WRITER)}
_FILE: Final = {"filename": "a.txt", "content_type": "text/plain", "size": 1}
_FORM: Final = {"content": form(field("name", "Notes")), "headers": FORM}
_BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_author": {"json": {"name": "Virginia"}},
    "update_author": {"json": {"name": "Virginia"}},
    "create_book": {"json": _BOOK},
    "create_books": {"json": {"items": [_BOOK]}},
    "update_book": {"json": {"title": "Orlando"}},
    "create_document": _FORM,
    "update_document": _FORM,
    "create_upload": {"json": _FILE},
    "create_token": {"data": {"username": email("owner"), "password": PASSWORD}},
    "create_user": {"json": {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}},
    "update_user": {"json": {"name": "Ada"}},
}


class Operation(NamedTuple):
    """One of the document's."""

    name: str
    method: str
    template: str
    responses: Json
    security: list[Json] | None

    @property
    def success(self) -> int:
        """The status of a valid request that is allowed."""
        if self.name == "complete_upload":
            return 409  # none of its bytes has arrived
        return min(int(status) for status in self.responses)

    async def ask(
        self, client: AsyncClient, headers: dict[str, str], owner: str = "owner"
    ) -> Response:
        """A valid request for what there is, of users and tokens for the owner's."""
        ids = {"users": IDS[owner], "tokens": TOKEN_IDS[owner], "books": BOOK}
        key = {**ids, "authors": AUTHOR, "documents": DOCUMENT}.get(self.template.split("/")[1])
        path = self.template.format(id=key, upload_id=UPLOAD)
        request = dict(_BODIES.get(self.name, {}))
        headers = request.pop("headers", {}) | headers
        return await client.request(self.method, path, headers=headers, **request)


def operations_of(document: Json) -> Iterator[Operation]:
    for template, item in document["paths"].items():
        for method, found in item.items():
            name, security = found["operationId"], found.get("security")
            yield Operation(name, method, template, found["responses"], security)
