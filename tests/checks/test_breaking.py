"""Tests of `checks.openapi`: it reports changes that break clients, and no other changes."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from checks.breaking import find_breaking_changes
from checks.openapi import (
    CHANGELOG,
    COMMITTED_DOCUMENT,
    RELEASED_DOCUMENT,
    announced_operations,
    find_errors,
    generate_document,
    serialize_document,
)
from checks.references import inline_components
from tests.support.factories import Json

# Changes a document in place.
Change = Callable[[Json], Any]
# The changes below change one operation, so operations must not share parameters and responses.
DOCUMENT: Json = inline_components(json.loads(COMMITTED_DOCUMENT.read_text()))
PASSWORD_SCHEMA = {"type": "string", "minLength": 8, "maxLength": 128}


def operation(document: Json, method: str = "post", path: str = "/authors") -> Json:
    """Return an operation of a document, by default `POST /authors`."""
    result: Json = document["paths"][path][method]
    return result


def parameter(document: Json, name: str, method: str = "get", path: str = "/books") -> Json:
    """Return a parameter of an operation, by default of `GET /books`."""
    parameters = operation(document, method, path)["parameters"]
    result: Json = next(parameter for parameter in parameters if parameter["name"] == name)
    return result


def fields(document: Json, model: str) -> Json:
    """Return the schemas of a model's fields by name."""
    result: Json = document["components"]["schemas"][model]["properties"]
    return result


def required(document: Json, model: str) -> list[str]:
    """Return the names of a model's required fields, as a list that can be changed."""
    result: list[str] = document["components"]["schemas"][model].setdefault("required", [])
    return result


def types(schema: Json) -> list[str]:
    """Return the types of values that a schema allows, as a list that can be changed."""
    result: list[str] = schema["type"]
    return result


# The reported change, and a function that makes it.
BREAKING: dict[str, Change] = {
    # Operations
    "create_author: POST /authors was removed": lambda d: d["paths"]["/authors"].pop("post"),
    "read_readiness: GET /readyz was removed": lambda d: d["paths"].pop("/readyz"),
    "create_author: has the new operation id add_author": lambda d: operation(d).update(
        operationId="add_author"
    ),
    "read_book: requires a token": lambda d: operation(d, "get", "/books/{id}")["security"].remove(
        {}
    ),
    # Parameters
    "list_books: query parameter q was removed": lambda d: operation(d, "get", "/books")[
        "parameters"
    ].remove(parameter(d, "q")),
    "list_books: query parameter q is required": lambda d: parameter(d, "q").update(required=True),
    "list_books: header parameter X-Tenant is required": lambda d: operation(d, "get", "/books")[
        "parameters"
    ].append({"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}),
    "list_books: query parameter size has a stricter maximum: 50": lambda d: parameter(d, "size")[
        "schema"
    ].update(maximum=50),
    "list_books: query parameter sort/* can no longer be -title": lambda d: parameter(d, "sort")[
        "schema"
    ]["items"]["enum"].remove("-title"),
    "list_books: query parameter sort has another style or explode": lambda d: parameter(
        d, "sort"
    ).update(explode=True),
    "read_user: path parameter id changed from integer to string": lambda d: parameter(
        d, "id", "get", "/users/{id}"
    ).update(schema={"type": "string"}),
    # Bodies of requests
    "create_author: body/name has a stricter maxLength: 100": lambda d: fields(d, "AuthorCreate")[
        "name"
    ].update(maxLength=100),
    "update_author: body/name has a stricter maxLength: 100": lambda d: fields(d, "AuthorUpdate")[
        "name"
    ].update(maxLength=100),
    "create_author: body/name has a stricter pattern: ^[a-z]": lambda d: fields(d, "AuthorCreate")[
        "name"
    ].update(pattern="^[a-z]"),
    "create_user: body/password has a stricter minLength: 12": lambda d: fields(d, "UserCreate")[
        "password"
    ].update(minLength=12),
    "create_author: body/dob is required": lambda d: required(d, "AuthorCreate").append("dob"),
    "create_author: body/dob was removed": lambda d: fields(d, "AuthorCreate").pop("dob"),
    "create_author: body/dob changed from null to string": lambda d: types(
        fields(d, "AuthorCreate")["dob"]
    ).pop(),
    "create_user: body/role can no longer be editor": lambda d: d["components"]["schemas"]["Role"][
        "enum"
    ].remove("editor"),
    "update_author: body no longer has the media type application/merge-patch+json": (
        lambda d: operation(d, "patch", "/authors/{id}")["requestBody"]["content"].pop(
            "application/merge-patch+json"
        )
    ),
    "create_books: body/items has a stricter maxItems: 10": lambda d: fields(d, "BookBatch")[
        "items"
    ].update(maxItems=10),
    "create_document: body/name was removed": lambda d: operation(d, "post", "/documents")[
        "requestBody"
    ]["content"]["multipart/form-data"]["schema"]["properties"].pop("name"),
    "complete_upload: a body is required": lambda d: operation(
        d, "post", "/documents/{id}/uploads/{upload_id}/complete"
    ).update(requestBody={"required": True, "content": {}}),
    # Responses
    "read_author: response 200/dob was removed": lambda d: fields(d, "AuthorRead").pop("dob"),
    "read_author: response 200/dob may be missing": lambda d: required(d, "AuthorRead").remove(
        "dob"
    ),
    "read_author: response 200/name changed from string to integer": lambda d: fields(
        d, "AuthorRead"
    )["name"].update(type="integer"),
    "list_authors: response 200/items/*/name changed from string to null": lambda d: fields(
        d, "AuthorRead"
    ).update(name={"anyOf": [fields(d, "AuthorRead")["name"], {"type": "null"}]}),
    "read_user: response 200/role can also be owner": lambda d: d["components"]["schemas"]["Role"][
        "enum"
    ].append("owner"),
    "read_liveness: response 200/status can also be an unlisted value": lambda d: fields(
        d, "Health"
    )["status"].pop("enum"),
    "create_author: 201 is no longer a response": lambda d: operation(d)["responses"].pop("201"),
    "create_author: 202 is a new response": lambda d: operation(d)["responses"].update({"202": {}}),
    "create_author: response 201 no longer has the header Location": lambda d: operation(d)[
        "responses"
    ]["201"]["headers"].pop("Location"),
    "download_books_csv: response 200 no longer has the media type text/csv": lambda d: operation(
        d, "get", "/books.csv"
    )["responses"]["200"]["content"].pop("text/csv"),
    "create_author: response 422/errors was removed": lambda d: fields(d, "Problem").pop("errors"),
}
COMPATIBLE: dict[str, Change] = {
    "no change": dict,
    "other descriptions": lambda d: operation(d).update(summary="x", description="y", tags=["z"]),
    "another example": lambda d: fields(d, "AuthorCreate")["name"].update(examples=["Ursula"]),
    "a new path": lambda d: d["paths"].update({"/people": d["paths"]["/authors"]}),
    "a new operation": lambda d: d["paths"]["/authors"].update(put=operation(d)),
    "a new optional parameter": lambda d: operation(d)["parameters"].append(
        {"name": "x", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a new optional field of a request": lambda d: fields(d, "AuthorCreate").update(
        died={"type": "string"}
    ),
    "a new field of a response": lambda d: fields(d, "AuthorRead").update(died={"type": "string"}),
    "longer strings in a request": lambda d: fields(d, "AuthorCreate")["name"].update(
        maxLength=400
    ),
    "shorter strings in a request": lambda d: fields(d, "UserCreate")["password"].pop("minLength"),
    "null is accepted in a request": lambda d: fields(d, "UserCreate").update(
        password={"anyOf": [PASSWORD_SCHEMA, {"type": "null"}]}
    ),
    "a field of a request is optional": lambda d: required(d, "BookCreate").remove("title"),
    "a new sort key": lambda d: parameter(d, "sort")["schema"]["items"]["enum"].append("pages"),
    "shorter strings in a response": lambda d: fields(d, "AuthorRead")["name"].update(
        maxLength=100
    ),
    "a field of a response is never null": lambda d: types(fields(d, "AuthorRead")["dob"]).pop(),
    "a new problem": lambda d: operation(d)["responses"].update({"451": {}}),
    "a token is not required": lambda d: operation(d)["security"].insert(0, {}),
    "an operation is public": lambda d: operation(d, "get", "/books").update(security=[]),
    "another format of integers": lambda d: parameter(d, "size")["schema"].update(format="int64"),
    "as many items as there are values": lambda d: parameter(d, "sort")["schema"].pop("maxItems"),
}


def changed_document(change: Change) -> Json:
    document = deepcopy(DOCUMENT)
    change(document)
    return document


@pytest.mark.parametrize("expected", BREAKING)
def test_change_that_breaks_clients_is_found(expected: str) -> None:
    changes = find_breaking_changes(DOCUMENT, changed_document(BREAKING[expected]))
    assert expected in [": ".join(change) for change in changes]


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible_change_is_not_reported(name: str) -> None:
    changes = find_breaking_changes(DOCUMENT, changed_document(COMPATIBLE[name]))
    assert list(changes) == []


def test_committed_document_is_current_and_compatible_with_the_release() -> None:
    released = json.loads(RELEASED_DOCUMENT.read_text())
    committed = COMMITTED_DOCUMENT.read_text()
    changelog = CHANGELOG.read_text()
    assert list(find_errors(committed, generate_document(), released, changelog)) == []
    assert f"\n## [{released['info']['version']}] - " in changelog


def test_outdated_document_is_reported_with_command_and_diff() -> None:
    document = changed_document(COMPATIBLE["longer strings in a request"])
    [message, *diff] = find_errors(serialize_document(DOCUMENT), document, DOCUMENT, "")
    assert "Run `make openapi`" in message
    assert [line for line in diff if line.startswith("+")] == ['+            "maxLength": 400,']


def test_breaking_change_is_accepted_only_if_the_changelog_announces_it() -> None:
    document = changed_document(BREAKING["create_author: body/dob was removed"])
    committed = serialize_document(document)
    item = "- **Breaking**: `create_author`\n  takes no `dob`.\n"
    release = "\n## [0.1.0] - 2026-11-24\n\n### Added\n\n"
    announced = f"# Changelog\n\n## [Unreleased]\n\n### Removed\n\n{item}{release}"
    assert list(find_errors(committed, document, DOCUMENT, announced)) == []

    without_item = ""
    without_marker = announced.replace("**Breaking**: ", "")
    of_another_operation = announced.replace("`create_author`", "`create_book`")
    of_a_past_release = f"## [Unreleased]\n{release}{item}"
    for changelog in (without_item, without_marker, of_another_operation, of_a_past_release):
        lines = list(find_errors(committed, document, DOCUMENT, changelog))
        assert lines[0].startswith("These changes break clients of 0.1.0")
        assert lines[-1] == "  create_author: body/dob was removed"


def test_change_in_several_media_types_is_reported_once() -> None:
    change = BREAKING["update_author: body/name has a stricter maxLength: 100"]
    document = changed_document(change)
    lines = list(find_errors(serialize_document(document), document, DOCUMENT, ""))
    assert lines[3:] == ["  update_author: body/name has a stricter maxLength: 100"]


def test_announced_operations_are_read_from_the_whole_item_and_not_from_the_next_one() -> None:
    changelog = "## [Unreleased]\n- **Breaking**: `a`\n  and `b`.\n- `c` is new.\n## [0.1.0]\n"
    assert announced_operations(changelog) == {"a", "b"}


def test_limit_that_follows_from_unique_values_is_not_reported() -> None:
    old_document = changed_document(COMPATIBLE["as many items as there are values"])
    assert list(find_breaking_changes(old_document, DOCUMENT)) == []
