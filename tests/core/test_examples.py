"""What the OpenAPI document gives people and programs to go on: examples, links, descriptions."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import AsyncClient, Response
from jsonschema import Draft202012Validator, FormatChecker

from app.core.db import Database
from app.main import create_app
from tests.conftest import make_settings
from tests.support.accounts import bearer_headers
from tests.support.callers import GENERATED_CASES, TOKENS, add_callers
from tests.support.entities import ENTITIES
from tests.support.factories import Json
from tests.support.multipart import FORM_HEADERS, form_body, form_field
from tests.support.rows import add_referenced_rows, add_rows, insert_rows

ID = "0199b2f4-c0de-7000-a000-000000000000"  # of everything in the examples but users
BODIES = [
    *(f"create_{case.singular}" for case in ENTITIES),
    *(f"update_{case.singular}" for case in ENTITIES),
    *("create_books", "create_upload", "create_token"),
]
OTHER_LINKS = {
    "create_author": {"list_author_books"},
    "create_document": {"read_document_content", "create_upload"},
}
LINKS = {
    f"create_{case.singular}": {f"{verb}_{case.singular}" for verb in ("read", "update", "delete")}
    | OTHER_LINKS.get(f"create_{case.singular}", set())
    for case in ENTITIES
}
LINKS["create_upload"] = {"read_upload", "complete_upload"}
# Fields whose name and model say everything.
PLAIN = {
    *("id", "name", "title", "email", "password", "author", "items", "status", "author_id"),
    *("created_at", "updated_at", "counted_at", "expires_at"),
}
Operation = tuple[str, str, Json]


@pytest.fixture(scope="module")
def document(template_url: str) -> Json:
    return create_app(make_settings(template_url)).openapi()


def operations(document: Json) -> dict[str, Operation]:
    return {
        operation["operationId"]: (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def contents(operation: Json) -> Iterator[tuple[str, Json]]:
    """What an operation takes, and what it answers when all is well."""
    answers = [answer for status, answer in operation["responses"].items() if status < "300"]
    for part in (operation.get("requestBody", {}), *answers):
        yield from part.get("content", {}).items()


async def add_what_the_examples_name(database: Database) -> None:
    await add_callers(database)
    await insert_rows(database, "authors", [{"id": ID, "name": "Ursula"}])
    await insert_rows(database, "books", [{"id": ID, "title": "Kindred", "author_id": ID}])
    await insert_rows(database, "documents", [{"id": ID, "name": "Thesis"}])
    for case in GENERATED_CASES:
        await add_referenced_rows(database, case)
        await add_rows(database, case, [{"n": 2, "id": ID}])


async def asked(client: AsyncClient, operation: Operation, path: str) -> Response:
    """The answer to an operation's example, from an admin."""
    method, _, about = operation
    headers, request = bearer_headers(TOKENS["admin"]), dict[str, Any]()
    kinds: Json = about.get("requestBody", {}).get("content", {"": {"example": {}}})
    kind, body = next((kind, content["example"]) for kind, content in kinds.items())
    if kind == "multipart/form-data":
        request["content"] = form_body(*(form_field(name, value) for name, value in body.items()))
        headers |= FORM_HEADERS
    elif kind:
        request["json" if kind == "application/json" else "data"] = body
    return await client.request(method, path, headers=headers, **request)


def test_every_body_that_is_sent_or_answered_has_an_example_that_its_schema_allows(
    document: Json,
) -> None:
    for name, (_, _, operation) in operations(document).items():
        for kind, content in contents(operation):
            schema = {**content["schema"], "components": document["components"]}
            checker = Draft202012Validator(schema, format_checker=FormatChecker())
            assert not list(checker.iter_errors(content["example"])), (name, kind)


def test_a_stream_has_a_line_for_its_example(document: Json) -> None:
    known = operations(document)
    for name in (f"list_{case.plural}" for case in ENTITIES if case.streams):
        answers = dict(contents(known[name][2]))
        [item] = answers["application/json"]["example"]["items"]
        line = answers["application/x-ndjson"]["example"]
        assert (json.loads(line), line[-1:]) == (item, "\n")
        [row] = csv.DictReader(io.StringIO(answers["text/csv"]["example"]))
        assert (row["id"], row["updated_at"]) == (item["id"], item["updated_at"])


def test_every_operation_that_takes_a_body_is_tried(document: Json) -> None:
    found = operations(document).items()
    assert {name for name, (*_, about) in found if "requestBody" in about} == set(BODIES)


@pytest.mark.parametrize("name", BODIES)
async def test_an_example_works_when_it_is_sent(
    client: AsyncClient, database: Database, document: Json, name: str
) -> None:
    await add_what_the_examples_name(database)
    known = operations(document)
    if name == "create_token":
        await asked(client, known["create_user"], "/users")
    path = known[name][1].format(id=1001 if "user" in name else ID)
    answer = await asked(client, known[name], path)
    [promised] = [s for s in known[name][2]["responses"] if s < "300"]
    assert str(answer.status_code) == promised, answer.text
    [*answers] = known[name][2]["responses"][promised]["content"].values()
    assert set(answer.json()) == set(answers[0]["example"])


def test_what_is_created_links_to_all_that_can_be_done_with_it(document: Json) -> None:
    links = {
        name: set(about["responses"]["201"]["links"])
        for name, (*_, about) in operations(document).items()
        if "links" in about["responses"].get("201", {})
    }
    assert links == LINKS


@pytest.mark.parametrize(
    ("name", "other"), [(n, other) for n in LINKS for other in sorted(LINKS[n])]
)
async def test_a_link_leads_to_what_was_created(
    client: AsyncClient, database: Database, document: Json, name: str, other: str
) -> None:
    await add_what_the_examples_name(database)
    known = operations(document)
    _, template, about = known[name]
    created = await asked(client, known[name], template.format(id=ID))
    link = about["responses"]["201"]["links"][other]
    values = {"$request.path.id": ID, "$response.body#/id": created.json()["id"]}
    parameters = {key: values[value] for key, value in link["parameters"].items()}
    _, path, _ = known[link["operationId"]]
    answer = await asked(client, known[other], path.format(**parameters))
    # Nothing has been uploaded: there is nothing to complete, and no content to go to.
    expected = {"complete_upload": 409, "read_document_content": 404}.get(other)
    assert answer.status_code == expected or (expected is None and answer.is_success)


def test_everything_that_needs_words_has_some(document: Json) -> None:
    silent = [tag["name"] for tag in document["tags"] if not tag["description"]]
    for name, (_, path, operation) in operations(document).items():
        parts = [operation, *operation.get("parameters", [])]
        silent += [f"{name} {part.get('name')}" for part in parts if not part.get("description")]
        assert set(operation["tags"]) <= {tag["name"] for tag in document["tags"]}
        for parameter in re.findall(r"{(\w+)}", path):
            assert parameter in {part.get("name") for part in parts}
    for name, header in document["components"]["headers"].items():
        silent += [name] if not header.get("description") else []
    for name, schema in document["components"]["schemas"].items():
        silent += [name] if not schema.get("description") else []
        for field_name, part in schema.get("properties", {}).items():
            # An embedded row is described by its own schema, and an id by its name.
            is_described = "$ref" in json.dumps(part) or field_name.endswith("_id")
            if not part.get("description") and field_name not in PLAIN and not is_described:
                silent.append(f"{name}.{field_name}")
    assert silent == []
