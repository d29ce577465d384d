"""What schemathesis loads: whose token its requests have, and where a check asks for too much."""

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

_WORKS: Final = """
SELECT EXISTS (
    SELECT FROM tokens JOIN users ON users.id = user_id WHERE digest = $1 AND role = 'admin'
)
"""
_USER: Final = """
INSERT INTO users (name, email, role, password_hash)
VALUES ('Root', $1, 'admin', $2) RETURNING id
"""
_TOKEN: Final = """
INSERT INTO tokens (id, user_id, name, digest, expires_at)
VALUES ($1, $2, 'fuzz', $3, now() + interval '1 day')
"""
_AUTHOR: Final = "SELECT id::text FROM authors ORDER BY random() LIMIT 1"
NEW: Final = 8  # of so many idempotency keys all but one are new: else most have been sent before


class Rows:
    """The service's database, from the threads of the generator."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def value(self, query: str, *parameters: object) -> Any:
        return self._runner.run(self._value(query, *parameters))

    async def _value(self, query: str, *parameters: object) -> Any:
        if self._connection is None:
            self._connection = await asyncpg.connect(os.environ["FUZZ_DATABASE_URL"])
        return await self._connection.fetchval(query, *parameters)


class Admin:
    """The token of an admin; of another one when requests have revoked it or demoted him."""

    def __init__(self) -> None:
        self._token = ""

    def get(self, *_: Any) -> str:
        if not rows.value(_WORKS, secret.token_digest(self._token)):
            self._token = secret.generate_token()
            user = rows.value(_USER, f"{uuid4()}@example.com", PASSWORD_HASH)
            rows.value(_TOKEN, uuid4(), user, secret.token_digest(self._token))
        return self._token

    def set(self, case: Any, token: str, *_: Any) -> None:
        case.headers = {**(case.headers or {}), **bearer_headers(token)}


rows, keys = Rows(), count(1)
if os.environ["FUZZ_AS"] == "admin":
    schemathesis.auth(refresh_interval=None)(Admin)


@schemathesis.hook
def before_load_schema(context: Any, schema: dict[str, Any]) -> None:
    """Let it make entity tags: it knows no header with quotes but by this format of its own."""
    for item in schema["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter.get("name") in {"If-Match", "If-None-Match"}:
                    parameter["schema"]["format"] = "_if_match_header"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Spare most requests what would have them refused before anything is done."""
    if _is_right(case, ParameterLocation.HEADER):
        number = next(keys)
        if "Idempotency-Key" in case.headers and number % NEW:
            case.headers["Idempotency-Key"] = f"key-{number}"
    if _is_right(case, ParameterLocation.QUERY) and {"page", "cursor"} <= set(case.query):
        del case.query["cursor"]
    if _is_right(case, ParameterLocation.BODY) and isinstance(case.body, dict):
        for book in (case.body, *case.body.get("items", ())):
            if "author_id" in book and (author := rows.value(_AUTHOR)):
                book["author_id"] = author


def _is_right(case: Any, location: ParameterLocation) -> bool:
    component = case.meta and case.meta.components.get(location)
    return bool(component and component.mode.is_positive)


# What is wrong with a request that the document allows, where a schema has no words for it.
UNSAID: Final = {
    ("/current_password", "missing"),  # that a field goes with another one
    ("/current_password", "unused"),
    ("/current_password", "wrong_password"),
    ("Idempotency-Key", "key_reused"),  # what has been sent before
    ("cursor", "cursor_mismatch"),  # which cursors have been given out, and for what
    ("cursor", "exclusive"),  # that two parameters exclude each other
    ("page", "page_too_deep"),  # what the product of two parameters is
    ("sort", "value_error"),  # that `name` and `-name` exclude each other
}


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether it is one."""
    operation: str = case.operation.label
    status: int = response.status_code
    if isinstance(failure, RejectedPositiveData):
        if status == 412:  # which version there is
            return "If-Match" not in case.headers
        if status == 413:  # MAX_UPLOAD_SIZE, which is the deployment's
            return operation != "POST /documents/{id}/uploads"
        if status == 422:
            unsaid = UNSAID | ({("/email", "email")} if _is_for_special_use(case.body) else set())
            places = map(_place, response.json()["errors"])
            # A schema cannot say which rows there are to refer to.
            return not all(place in unsaid or place[1].endswith("_not_found") for place in places)
    if isinstance(failure, AcceptedNegativeData):
        # A precondition may be looked at first. In a form a number, null, or an array of one value
        # is text.
        return status != 412 and not (
            case.media_type == "multipart/form-data" and _is_right_as_text(case.body)
        )
    if isinstance(failure, EnsureResourceAvailability):  # of a document without a file
        return operation != "GET /documents/{id}/content"
    return True


def _is_for_special_use(body: Any) -> bool:
    """An address with a domain like `test`, which is one by its format, and nobody's."""
    email = body.get("email") if isinstance(body, dict) else None
    return isinstance(email, str) and email.rpartition(".")[2].lower() in SPECIAL_USE_DOMAIN_NAMES


def _is_right_as_text(body: Any) -> bool:
    if not isinstance(body, dict) or not body.keys() <= {"name", "file"}:
        return False
    name = body.get("name", "")
    value = name[0] if isinstance(name, list) and len(name) == 1 else name
    return (
        value is None
        or isinstance(value, int | float)
        or (isinstance(name, list) and isinstance(value, str))
    )


def _place(fault: dict[str, str]) -> tuple[str, str]:
    where = fault.get("parameter") or fault.get("header") or fault["pointer"]
    return where[where.rfind("/") :] if "pointer" in fault else where, fault["code"]
