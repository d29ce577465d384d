"""The check of the OpenAPI document: what breaks clients is noticed, and nothing else is."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from checks.breaking import breaks
from checks.openapi import CHANGELOG, COMMITTED, RELEASED, acknowledged, document, faults, written
from tests.support.factories import Json

Change = Callable[[Json], Any]
DOCUMENT: Json = json.loads(COMMITTED.read_text())
PASSWORD = {"type": "string", "minLength": 8, "maxLength": 128}


def operation(found: Json, method: str = "post", path: str = "/authors") -> Json:
    chosen: Json = found["paths"][path][method]
    return chosen


def parameter(found: Json, name: str, method: str = "get", path: str = "/books") -> Json:
    parameters = operation(found, method, path)["parameters"]
    [chosen] = [each for each in parameters if each["name"] == name]
    it: Json = chosen
    return it


def fields(found: Json, model: str) -> Json:
    chosen: Json = found["components"]["schemas"][model]["properties"]
    return chosen


def required(found: Json, model: str) -> list[str]:
    chosen: list[str] = found["components"]["schemas"][model].setdefault("required", [])
    return chosen


def options(schema: Json) -> list[Json]:
    chosen: list[Json] = schema["anyOf"]
    return chosen


BREAKING: dict[str, Change] = {
    # what there is
    "create_author: POST /authors is gone": lambda d: d["paths"]["/authors"].pop("post"),
    "read_readiness: GET /readyz is gone": lambda d: d["paths"].pop("/readyz"),
    "create_author: is called add_author": lambda d: operation(d).update(operationId="add_author"),
    "read_book: needs a token": lambda d: operation(d, "get", "/books/{id}")["security"].remove({}),
    # parameters
    "list_books: query q is gone": lambda d: operation(d, "get", "/books")["parameters"].remove(
        parameter(d, "q")
    ),
    "list_books: query q is required": lambda d: parameter(d, "q").update(required=True),
    "list_books: header X-Tenant is required": lambda d: operation(d, "get", "/books")[
        "parameters"
    ].append({"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}),
    "list_books: query size has the maximum 50": lambda d: parameter(d, "size")["schema"].update(
        maximum=50
    ),
    "list_books: query sort/* must not be -title": lambda d: parameter(d, "sort")["schema"][
        "items"
    ]["enum"].remove("-title"),
    "list_books: query sort is written in another way": lambda d: parameter(d, "sort").update(
        explode=True
    ),
    "read_user: path id was integer, is string": lambda d: parameter(
        d, "id", "get", "/users/{id}"
    ).update(schema={"type": "string"}),
    # bodies
    "create_author: body /name has the maxLength 100": lambda d: fields(d, "AuthorCreate")[
        "name"
    ].update(maxLength=100),
    "update_author: body /name has the maxLength 100": lambda d: fields(d, "AuthorUpdate")[
        "name"
    ].update(maxLength=100),
    "create_author: body /name has the pattern ^[a-z]": lambda d: fields(d, "AuthorCreate")[
        "name"
    ].update(pattern="^[a-z]"),
    "create_user: body /password has the minLength 12": lambda d: fields(d, "UserCreate")[
        "password"
    ].update(minLength=12),
    "create_author: body /dob is required": lambda d: required(d, "AuthorCreate").append("dob"),
    "create_author: body /dob is gone": lambda d: fields(d, "AuthorCreate").pop("dob"),
    "create_author: body /dob was null, is string": lambda d: options(
        fields(d, "AuthorCreate")["dob"]
    ).pop(),
    "create_user: body /role must not be editor": lambda d: d["components"]["schemas"]["Role"][
        "enum"
    ].remove("editor"),
    "update_author: body is no application/merge-patch+json": lambda d: operation(
        d, "patch", "/authors/{id}"
    )["requestBody"]["content"].pop("application/merge-patch+json"),
    "create_books: body /items has the maxItems 10": lambda d: fields(d, "BookBatch")[
        "items"
    ].update(maxItems=10),
    "create_document: body /name is gone": lambda d: operation(d, "post", "/documents")[
        "requestBody"
    ]["content"]["multipart/form-data"]["schema"]["properties"].pop("name"),
    "complete_upload: a body is required": lambda d: operation(
        d, "post", "/documents/{id}/uploads/{upload_id}/complete"
    ).update(requestBody={"required": True, "content": {}}),
    # answers
    "read_author: 200 /dob is gone": lambda d: fields(d, "AuthorRead").pop("dob"),
    "read_author: 200 /dob may be missing": lambda d: required(d, "AuthorRead").remove("dob"),
    "read_author: 200 /name was string, is integer": lambda d: fields(d, "AuthorRead")[
        "name"
    ].update(type="integer"),
    "list_authors: 200 /items/*/name was string, is null": lambda d: fields(d, "AuthorRead").update(
        name={"anyOf": [fields(d, "AuthorRead")["name"], {"type": "null"}]}
    ),
    "read_user: 200 /role may be owner": lambda d: d["components"]["schemas"]["Role"][
        "enum"
    ].append("owner"),
    "read_liveness: 200 /status may be anything else": lambda d: fields(d, "Health")["status"].pop(
        "enum"
    ),
    "create_author: 201 is no longer an answer": lambda d: operation(d)["responses"].pop("201"),
    "create_author: 202 is also an answer": lambda d: operation(d)["responses"].update({"202": {}}),
    "create_author: 201 has no Location": lambda d: operation(d)["responses"]["201"]["headers"].pop(
        "Location"
    ),
    "list_books: 200 is no text/csv": lambda d: operation(d, "get", "/books")["responses"]["200"][
        "content"
    ].pop("text/csv"),
    "create_author: 422 /errors is gone": lambda d: fields(d, "Problem").pop("errors"),
}
HARMLESS: dict[str, Change] = {
    "nothing": dict,
    "other words": lambda d: operation(d).update(summary="x", description="y", tags=["z"]),
    "another example": lambda d: fields(d, "AuthorCreate")["name"].update(examples=["Ursula"]),
    "a path": lambda d: d["paths"].update({"/people": d["paths"]["/authors"]}),
    "an operation": lambda d: d["paths"]["/authors"].update(put=operation(d)),
    "a parameter": lambda d: operation(d)["parameters"].append(
        {"name": "x", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a field that may be sent": lambda d: fields(d, "AuthorCreate").update(died={"type": "string"}),
    "a field that is answered": lambda d: fields(d, "AuthorRead").update(died={"type": "string"}),
    "longer names": lambda d: fields(d, "AuthorCreate")["name"].update(maxLength=400),
    "shorter passwords": lambda d: fields(d, "UserCreate")["password"].pop("minLength"),
    "null where there was none": lambda d: fields(d, "UserCreate").update(
        password={"anyOf": [PASSWORD, {"type": "null"}]}
    ),
    "what may be left out": lambda d: required(d, "BookCreate").remove("title"),
    "another sort": lambda d: parameter(d, "sort")["schema"]["items"]["enum"].append("pages"),
    "shorter answers": lambda d: fields(d, "AuthorRead")["name"].update(maxLength=100),
    "never null": lambda d: options(fields(d, "AuthorRead")["dob"]).pop(),
    "another problem": lambda d: operation(d)["responses"].update({"451": {}}),
    "no token needed": lambda d: operation(d)["security"].insert(0, {}),
}


def changed(change: Change) -> Json:
    new = deepcopy(DOCUMENT)
    change(new)
    return new


@pytest.mark.parametrize("expected", BREAKING)
def test_what_breaks_clients_is_noticed(expected: str) -> None:
    found = [": ".join(each) for each in breaks(DOCUMENT, changed(BREAKING[expected]))]
    assert expected in found


@pytest.mark.parametrize("name", HARMLESS)
def test_what_breaks_no_client_is_not(name: str) -> None:
    assert list(breaks(DOCUMENT, changed(HARMLESS[name]))) == []


def test_the_document_is_the_committed_one_and_keeps_what_was_promised() -> None:
    released = json.loads(RELEASED.read_text())
    texts = (COMMITTED.read_text(), CHANGELOG.read_text())
    assert list(faults(texts[0], document(), released, texts[1])) == []
    assert f"\n## [{released['info']['version']}] - " in texts[1]


def test_a_document_that_was_not_renewed_says_how_and_shows_where() -> None:
    new = changed(HARMLESS["longer names"])
    [said, *lines] = faults(written(DOCUMENT), new, DOCUMENT, "")
    assert "`make openapi` renews it" in said
    assert [line for line in lines if line.startswith("+")] == ['+            "maxLength": 400,']


def test_a_break_is_accepted_when_the_changelog_announces_it_for_the_next_release() -> None:
    new = changed(BREAKING["create_author: body /dob is gone"])
    item = "- **Breaking**: `create_author`\n  takes no `dob`.\n"
    after = "\n## [0.1.0] - 2026-11-24\n\n### Added\n\n"
    announced = f"# Changelog\n\n## [Unreleased]\n\n### Removed\n\n{item}{after}"
    assert list(faults(written(new), new, DOCUMENT, announced)) == []
    for changelog in (
        "",
        announced.replace("**Breaking**: ", ""),
        announced.replace("`create_author`", "`create_book`"),
        f"## [Unreleased]\n{after}{item}",  # of a release that has been made
    ):
        said = list(faults(written(new), new, DOCUMENT, changelog))
        assert said[0].startswith("clients of 0.1.0 break")
        assert said[-1] == "  create_author: body /dob is gone"


def test_what_holds_for_several_types_of_a_body_is_said_once() -> None:
    new = changed(BREAKING["update_author: body /name has the maxLength 100"])
    said = list(faults(written(new), new, DOCUMENT, ""))
    assert said[2:] == ["  update_author: body /name has the maxLength 100"]


def test_an_item_ends_where_the_next_begins() -> None:
    changelog = "## [Unreleased]\n- **Breaking**: `a`\n  and `b`.\n- `c` is new.\n## [0.1.0]\n"
    assert acknowledged(changelog) == {"a", "b"}
