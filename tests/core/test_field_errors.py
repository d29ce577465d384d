"""Every validation error is a plain sentence that says what to send instead."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from httpx import AsyncClient
from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

import app.api  # noqa: F401 - defines all request models
from app.core.field_errors import json_pointer, validation_error_code, validation_error_message
from app.core.paging import PageQuery
from app.core.schemas import RequestModel
from tests.support.factories import Json, make_document

DATE_STRING = "Must be a string with a complete date such as 2026-11-29"
DATE_ORDER = "Must be the year, the month and the day with hyphens, such as 2026-11-29"
DATE_EXISTS = "Must be a day that exists, such as 2026-11-29"
DATE_TIME = "Must be a date and time with a time zone such as 2026-11-29T14:00:00Z"
PLUS = (
    "Must be a date and time such as 2026-11-29T14:00:00+02:00. In a URL, + means a space, so write"
    " %2B instead"
)
INTEGER = "Must be an integer such as 12, without leading zeros"
UNKNOWN_ID = "0199b2f4-c0de-7000-a000-000000000000"
BOOK = {"title": "Kindred", "author_id": UNKNOWN_ID}
USER = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
UPLOAD = {"filename": "a.pdf", "content_type": "application/pdf", "size": 1}

# fmt: off
# The path, a body with one wrong value, its pointer, and the code and the detail of the error.
WRONG_BODIES = [
    ("/authors", {}, "/name", "missing", "Required"),
    ("/authors", {"name": "Ada", "born": 1}, "/born", "extra_forbidden", "Unknown field"),
    ("/authors", [], "", "model_attributes_type", "Must be a JSON object"),
    ("/authors", {"name": 1}, "/name", "string_type", "Must be a string"),
    ("/authors", {"name": ""}, "/name", "string_too_short", "Must have at least 1 character"),
    ("/authors", {"name": "x" * 201}, "/name",
     "string_too_long", "Must have at most 200 characters"),
    ("/authors", {"name": "a\0"}, "/name",
     "string_pattern_mismatch", "Must not contain NUL characters"),
    ("/authors", {"name": "\u200b "}, "/name",
     "no_visible_character", "Must contain a visible character"),
    ("/authors", {"name": "Ada", "dob": 1}, "/dob", "string_type", DATE_STRING),
    ("/authors", {"name": "Ada", "dob": "1/2/1815"}, "/dob", "string_pattern_mismatch", DATE_ORDER),
    ("/authors", {"name": "Ada", "dob": "1815-02-30"}, "/dob",
     "date_from_datetime_parsing", DATE_EXISTS),
    ("/authors", {"name": "Ada", "dob": "0001-01-01"}, "/dob",
     "greater_than", "Must be after 0001-01-01"),
    ("/authors", {"name": "Ada", "dob": "9999-12-31"}, "/dob",
     "less_than", "Must be before 9999-12-31"),
    ("/books", BOOK | {"author_id": 7}, "/author_id", "string_type", "Must be a UUID"),
    ("/books", BOOK | {"author_id": "7"}, "/author_id", "string_pattern_mismatch",
     "Must be a UUID"),
    ("/books/batch", {"items": {}}, "/items", "list_type", "Must be an array"),
    ("/books/batch", {"items": []}, "/items", "too_short", "Must have at least 1 item"),
    ("/books/batch", {"items": [{}] * 1001}, "/items", "too_long", "Must have at most 1000 items"),
    ("/books/batch", {"items": [7]}, "/items/0", "model_attributes_type", "Must be a JSON object"),
    ("/users", USER | {"role": "god"}, "/role", "enum", "Must be 'member', 'editor' or 'admin'"),
    ("/users", USER | {"email": "ada"}, "/email",
     "email", "Must be an email address such as ada@example.com"),
    ("/users", USER | {"password": "short"}, "/password",
     "too_short", "Must have at least 8 characters"),
    ("/users", USER | {"password": "x" * 129}, "/password",
     "too_long", "Must have at most 128 characters"),
    ("/users", USER | {"password": "correct\0horse"}, "/password",
     "password", "Must not contain NUL characters"),
    ("uploads", UPLOAD | {"size": "1"}, "/size", "int_type", "Must be an integer"),
    ("uploads", UPLOAD | {"size": 1.5}, "/size", "int_type", "Must be an integer"),
    ("uploads", UPLOAD | {"size": 0}, "/size", "greater_than_equal", "Must be at least 1"),
    ("uploads", UPLOAD | {"size": 2**63}, "/size",
     "less_than_equal", "Must be at most 9223372036854775807"),
    ("uploads", UPLOAD | {"content_type": 1}, "/content_type", "string_type", "Must be a string"),
    ("uploads", UPLOAD | {"sha256": "X" * 64}, "/sha256",
     "string_pattern_mismatch", "Must be 64 hexadecimal digits in lower case"),
]
# A path with one wrong parameter, its name, and the code and the detail of the error.
WRONG_PARAMETERS = [
    ("/books/7", "id", "string_pattern_mismatch", "Must be a UUID"),
    ("/users/x", "id", "string_pattern_mismatch", INTEGER),
    ("/users/0", "id", "greater_than_equal", "Must be at least 1"),
    ("/books?id=7", "id", "string_pattern_mismatch", "Must be a UUID"),
    ("/books?" + f"id={UNKNOWN_ID}&" * 101, "id", "too_long", "Must have at most 100 items"),
    ("/books?page=01", "page", "string_pattern_mismatch", INTEGER),
    ("/books?size=101", "size", "less_than_equal", "Must be at most 100"),
    ("/books?count=x", "count", "literal_error",
     "Must be 'bounded', 'exact', 'none' or 'estimated'"),
    ("/books?created_from=2026-11-29", "created_from", "string_pattern_mismatch", DATE_TIME),
    ("/books?created_from=2026-11-31T00:00:00Z", "created_from",
     "datetime_from_date_parsing", DATE_TIME),
    ("/books?created_from=0001-01-01T00:00:00%2B14:00", "created_from",
     "value_error", "Must be between the years 1 and 9999 in UTC"),
    ("/books?created_from=2026-11-29T14:00:60Z", "created_from",
     "value_error", "Must have a second below 60, except in the last minute of a UTC day"),
    ("/books?created_from=2026-11-29T14:00:00+02:00", "created_from", "unescaped_plus", PLUS),
    ("/books?q=", "q", "string_too_short", "Must have at least 1 character"),
    ("/books?titel=x", "titel", "unknown_parameter", "Unknown parameter"),
    ("/books.csv?page=1", "page", "no_pages",
     "Must not be sent, because the response contains the whole list and not a page"),
    ("/books?sort=title,-title", "sort",
     "value_error", "Must not contain the same sort key twice"),
    ("/books?q=x&q=y", "q", "repeated_parameter", "Must not be repeated"),
]
# fmt: on
# Values of query parameters, which are strings, or lists of them if a parameter is repeated.
WRONG_STRINGS: list[Any] = [
    *("", "7", "07", "-7", "a\0", "x" * 5000, "0001-01-01", "2026-02-30", "9999-12-31"),
    *("2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00"),
    *([], ["x"], ["title,title"], ["x"] * 1001),
]
WRONG_VALUES = [*WRONG_STRINGS, None, True, 7, 1.5, 2**70, [7], {}, {"x": 1}]


@pytest.mark.parametrize(("path", "body", "pointer", "code", "detail"), WRONG_BODIES)
async def test_wrong_value_in_body_is_explained(
    client: AsyncClient, path: str, body: Any, pointer: str, code: str, detail: str
) -> None:
    if path == "uploads":
        path = f"/documents/{(await make_document(client))['id']}/uploads"
    response = await client.post(path, json=body)
    assert response.status_code == 422, response.text
    errors = response.json()["errors"]
    assert {"pointer": pointer, "code": code, "detail": detail} in errors


@pytest.mark.parametrize(("path", "parameter", "code", "detail"), WRONG_PARAMETERS)
async def test_wrong_parameter_is_explained(
    client: AsyncClient, path: str, parameter: str, code: str, detail: str
) -> None:
    response = await client.get(path)
    assert response.status_code == 422, response.text
    errors = response.json()["errors"]
    assert {"parameter": parameter, "code": code, "detail": detail} in errors


async def test_unsupported_grant_type_in_login_form_is_explained(client: AsyncClient) -> None:
    form = {"username": "ada@example.com", "password": "x", "grant_type": "implicit"}
    response = await client.post("/tokens", data=form)
    [error] = response.json()["errors"]
    expected = {"pointer": "/grant_type", "code": "literal_error", "detail": "Must be 'password'"}
    assert error == expected


def request_models(base: type[RequestModel] = RequestModel) -> Iterator[type[RequestModel]]:
    """Return all models of bodies, forms and queries that the application defines."""
    for model in base.__subclasses__():
        if model.__module__.startswith("app."):
            yield model
        yield from request_models(model)


def validation_errors(model: type[RequestModel], values: Json) -> list[Any]:
    """Return Pydantic's errors for the values."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [*error.errors()]
    return []


def is_plain_sentence(message: str) -> bool:
    return (
        message.startswith(("Must ", "Required", "Unknown "))
        and not message.endswith(".")
        and not any(text in message for text in ("Input", "^", "pattern", "API documentation"))
    )


def test_no_request_model_shows_a_message_of_pydantic() -> None:
    models = [*request_models()]
    assert len(models) > 10
    codes = set()
    for model in models:
        wrong_values = WRONG_STRINGS if issubclass(model, PageQuery) else WRONG_VALUES
        for name, field in model.model_fields.items():
            for value in wrong_values:
                for error in validation_errors(model, {field.alias or name: value}):
                    message = validation_error_message(error)
                    assert is_plain_sentence(message), (model, error["loc"], message)
                    codes.add(validation_error_code(error))
    # Each code that a request can produce has an example above. FastAPI always passes a list for
    # a parameter that may be repeated, and reports `model_attributes_type` for `model_type`. The
    # field `scope` is in a form, and has tests of its own.
    examples = {case[-2] for case in [*WRONG_BODIES, *WRONG_PARAMETERS]}
    assert codes - examples == {"invalid_scope", "model_type", "tuple_type"}


class AnyContext(dict[str, Any]):
    """The context of an error, with the limit 2 for every key."""

    def __missing__(self, key: str) -> int:
        return 2


@pytest.mark.parametrize("error_type", get_args(ErrorType))
def test_every_error_type_of_pydantic_has_a_message_without_python(error_type: str) -> None:
    error = {"type": error_type, "ctx": AnyContext(), "msg": "Value error, Must be even"}
    message = validation_error_message(error)
    assert "Input" not in message
    assert "{" not in message
    assert message[0].isupper()
    assert message != error["msg"]


def test_message_of_one_is_singular_and_of_dates_names_them() -> None:
    too_long = {"type": "too_long", "ctx": {"field_type": "List", "max_length": 1}}
    assert validation_error_message(too_long) == "Must have at most 1 item"
    early = {"type": "greater_than_equal", "ctx": {"ge": "2026-11-29"}}
    assert validation_error_message(early) == "Must be 2026-11-29 or later"


@pytest.mark.parametrize(
    ("path", "pointer"),
    [((), ""), (("items", 17, "title"), "/items/17/title"), (("a/b", "a~b"), "/a~1b/a~0b")],
)
def test_json_pointer_escapes_slashes_and_tildes(path: tuple[object, ...], pointer: str) -> None:
    assert json_pointer(*path) == pointer
