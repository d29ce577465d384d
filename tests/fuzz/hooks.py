"""Hooks that schemathesis loads: tokens, better requests, and failures to ignore.

The environment variables FUZZ_DATABASE_URL and FUZZ_CALLER name the database of the service and
the caller.
"""

import asyncio
import os
from itertools import count
from typing import Any, Final
from uuid import uuid4

import asyncpg
import schemathesis
from email_validator import SPECIAL_USE_DOMAIN_NAMES
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import EnsureResourceAvailability, RejectedPositiveData

from app.tokens import secret
from tests.support.accounts import PASSWORD_HASH, bearer_headers

_IS_ADMIN_TOKEN: Final = """
SELECT EXISTS (
    SELECT FROM tokens JOIN users ON users.id = user_id WHERE digest = $1 AND role = 'admin'
)
"""
_INSERT_ADMIN: Final = """
INSERT INTO users (name, email, role, password_hash)
VALUES ('Root', $1, 'admin', $2) RETURNING id
"""
_INSERT_TOKEN: Final = """
INSERT INTO tokens (id, user_id, name, digest, expires_at)
VALUES ($1, $2, 'fuzz', $3, now() + interval '1 day')
"""
_SELECT_AUTHOR_ID: Final = "SELECT id::text FROM authors ORDER BY random() LIMIT 1"
# One request in this many keeps the idempotency key that schemathesis generated, which often was
# used before. The others get a new key, because otherwise most requests would be replays.
_KEPT_KEY_INTERVAL: Final = 8


class DatabaseQueries:
    """Executes queries from the synchronous hooks, over one connection."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def fetch_value(self, query: str, *parameters: object) -> Any:
        """Return the first column of the first row of a query, or None without a row."""
        return self._runner.run(self._fetch_value(query, *parameters))

    async def _fetch_value(self, query: str, *parameters: object) -> Any:
        if self._connection is None:
            self._connection = await asyncpg.connect(os.environ["FUZZ_DATABASE_URL"])
        return await self._connection.fetchval(query, *parameters)


class AdminAuth:
    """Authenticates each request with the token of an administrator.

    Requests may revoke the token, or delete or demote the administrator. The next request then gets
    a token of a new administrator.
    """

    def __init__(self) -> None:
        self._token = ""

    def get(self, *_: Any) -> str:
        """Return a valid token of an administrator."""
        if not database.fetch_value(_IS_ADMIN_TOKEN, secret.compute_token_digest(self._token)):
            self._token = secret.generate_token()
            email = f"{uuid4()}@example.com"
            user_id = database.fetch_value(_INSERT_ADMIN, email, PASSWORD_HASH)
            database.fetch_value(
                _INSERT_TOKEN, uuid4(), user_id, secret.compute_token_digest(self._token)
            )
        return self._token

    def set(self, case: Any, token: str, *_: Any) -> None:
        """Add the token to the headers of a request."""
        case.headers = {**(case.headers or {}), **bearer_headers(token)}


database = DatabaseQueries()
request_numbers = count(1)
if os.environ["FUZZ_CALLER"] == "admin":
    schemathesis.auth(refresh_interval=None)(AdminAuth)


@schemathesis.hook
def before_load_schema(context: Any, schema: dict[str, Any]) -> None:
    """Set the format of headers that contain entity tags, so that schemathesis generates them.

    Without this internal format it generates header values without quotes.
    """
    # Operations share these parameters, so they are components.
    for name in ("IfMatch", "IfNoneMatch"):
        schema["components"]["parameters"][name]["schema"]["format"] = "_if_match_header"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change valid requests that would be rejected for reasons that the schema cannot express."""
    if _is_valid(case, ParameterLocation.HEADER):
        request_number = next(request_numbers)
        if "Idempotency-Key" in case.headers and request_number % _KEPT_KEY_INTERVAL != 0:
            case.headers["Idempotency-Key"] = f"key-{request_number}"
    if _is_valid(case, ParameterLocation.QUERY) and {"page", "cursor"} <= set(case.query):
        del case.query["cursor"]
    if _is_valid(case, ParameterLocation.BODY) and isinstance(case.body, dict):
        for book in (case.body, *case.body.get("items", ())):
            if "author_id" in book:
                book["author_id"] = database.fetch_value(_SELECT_AUTHOR_ID) or book["author_id"]


def _is_valid(case: Any, location: ParameterLocation) -> bool:
    """Return whether schemathesis generated valid headers, a valid query or a valid body."""
    component = case.meta and case.meta.components.get(location)
    return bool(component and component.mode.is_positive)


# The last part of the location, and the code, of each field error that a request may cause although
# it is valid according to the OpenAPI document.
ERRORS_BEYOND_SCHEMA: Final = {
    # A name of combining marks, or of invisible characters above U+FFFF.
    ("/name", "no_visible_character"),
    ("/title", "no_visible_character"),
    # A password whose number of characters changes when it is normalized.
    ("/password", "too_short"),
    ("/password", "too_long"),
    # A password such as 00000000, or the name or email of the user.
    ("/password", "common_password"),
    ("/password", "known_password"),
    # A field that requires or excludes another one.
    ("/current_password", "missing"),
    ("/current_password", "unused"),
    ("/current_password", "wrong_password"),
    # An idempotency key that was sent with another request.
    ("Idempotency-Key", "key_reused"),
    # A cursor that the service did not create, or created for another list.
    ("cursor", "cursor_mismatch"),
    ("after", "cursor_mismatch"),
    # Two parameters that exclude each other.
    ("cursor", "exclusive"),
    # The product of two parameters.
    ("page", "page_too_deep"),
    # Both `name` and `-name`.
    ("sort", "value_error"),
}


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Return False for failures of checks that do not apply to this request."""
    operation: str = case.operation.label
    if isinstance(failure, RejectedPositiveData):
        return not _may_reject_valid_request(operation, case, response)
    if isinstance(failure, AcceptedNegativeData):
        # The service may check a precondition before it validates the request.
        precondition_failed = response.status_code == 412
        is_form = case.media_type == "multipart/form-data"
        return not precondition_failed and not (is_form and _is_valid_as_text(case.body))
    if isinstance(failure, EnsureResourceAvailability):
        # A document that was created without a file has no content.
        return operation != "GET /documents/{id}/content"
    return True


def _may_reject_valid_request(operation: str, case: Any, response: Any) -> bool:
    """Return whether the service may reject a request that the OpenAPI document allows."""
    if response.status_code == 412:
        # The entity tag of another version, or `If-None-Match: *`.
        return "If-Match" in case.headers or "If-None-Match" in case.headers
    if response.status_code == 413:
        # The limit is the setting MAX_UPLOAD_SIZE.
        return operation == "POST /documents/{id}/uploads"
    if response.status_code == 422:
        accepted_errors = set(ERRORS_BEYOND_SCHEMA)
        if _has_special_use_email(case.body):
            accepted_errors.add(("/email", "email"))
        for field_error in response.json()["errors"]:
            location, code = _location_and_code(field_error)
            # A schema cannot say which rows exist.
            if not code.endswith("_not_found") and (location, code) not in accepted_errors:
                return False
        return True
    return False


def _has_special_use_email(body: Any) -> bool:
    """Return whether the email address in a body has a domain like `test`, which no one can use."""
    if not isinstance(body, dict) or not isinstance(body.get("email"), str):
        return False
    top_level_domain = body["email"].rpartition(".")[2].lower()
    return top_level_domain in SPECIAL_USE_DOMAIN_NAMES


def _is_valid_as_text(body: Any) -> bool:
    """Return whether an invalid body becomes valid because a form field contains text.

    The name of a document may be sent as a number, null or an array with one value.
    """
    if not isinstance(body, dict) or not body.keys() <= {"name", "file"}:
        return False
    name = body.get("name", "")
    if isinstance(name, list) and len(name) == 1:
        return name[0] is None or isinstance(name[0], int | float | str)
    return name is None or isinstance(name, int | float)


def _location_and_code(field_error: dict[str, str]) -> tuple[str, str]:
    """Return where a field error is, and its code.

    Examples: `("cursor", "exclusive")`, and `("/email", "email")` for the pointer `/items/0/email`.
    """
    if "pointer" in field_error:
        pointer = field_error["pointer"]
        return pointer[pointer.rfind("/") :], field_error["code"]
    location = field_error.get("parameter") or field_error["header"]
    return location, field_error["code"]
