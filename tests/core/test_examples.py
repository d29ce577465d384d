"""Examples, links and descriptions in the OpenAPI document. Examples and links are tried."""

import csv
import io
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
from httpx import AsyncClient, Response
from jsonschema import Draft202012Validator, FormatChecker

from app.core.db import Database
from tests.support.accounts import bearer_headers
from tests.support.callers import GENERATED_CASES, TOKENS, add_callers
from tests.support.entities import ENTITIES
from tests.support.factories import Json
from tests.support.multipart import FORM_HEADERS, form_body, form_field
from tests.support.rows import add_referenced_rows, add_rows, execute, insert_rows

# The id of every resource in the examples, except of users.
ID = "0199b2f4-c0de-7000-a000-000000000000"
# The operations that take a body.
OPERATIONS_WITH_BODY = [
    *(f"create_{case.singular}" for case in ENTITIES),
    *(f"update_{case.singular}" for case in ENTITIES),
    *(f"delete_{case.plural}" for case in ENTITIES if case.deletes_many),
    *("create_books", "create_upload", "create_token", "delete_user"),
]
# The operations to which the response of an operation links, besides those of every entity.
OTHER_LINKS = {
    "create_author": {"list_author_books"},
    "create_document": {"read_document_content", "create_upload"},
}
# The operations to which the response of each operation links.
LINKS = {
    f"create_{case.singular}": {f"{verb}_{case.singular}" for verb in ("read", "update", "delete")}
    | OTHER_LINKS.get(f"create_{case.singular}", set())
    for case in ENTITIES
}
LINKS["create_upload"] = {"read_upload", "complete_upload"}
# Fields that need no description, because their names and models describe them.
SELF_EXPLANATORY_FIELDS = {
    *("id", "name", "title", "email", "password", "author", "items", "status", "author_id"),
    *("created_at", "updated_at", "counted_at", "expires_at"),
}


class Operation(NamedTuple):
    """An operation of the document."""

    method: str
    path: str
    description: Json

    def successful_responses(self) -> Json:
        """Return the responses with a status of 2xx, by status."""
        responses = self.description["responses"]
        return {status: response for status, response in responses.items() if status < "300"}

    def media_types(self) -> Iterator[tuple[str, Json]]:
        """Yield each media type of the request body and of successful responses.

        For example `("application/json", {"schema": ..., "example": ...})`.
        """
        request_body = self.description.get("requestBody", {})
        for body in (request_body, *self.successful_responses().values()):
            yield from body.get("content", {}).items()


def get_example(operation: Operation) -> str:
    """Return the only example of an operation, which is a file."""
    [(_, content)] = operation.media_types()
    example: str = content["example"]
    return example


def operations_by_id(document: Json) -> dict[str, Operation]:
    return {
        description["operationId"]: Operation(method, path, description)
        for path, path_item in document["paths"].items()
        for method, description in path_item.items()
    }


async def insert_rows_of_examples(database: Database) -> None:
    """Insert the rows whose ids are in the examples, and the users."""
    await add_callers(database)
    await insert_rows(database, "authors", [{"id": ID, "name": "Ursula"}])
    await insert_rows(database, "books", [{"id": ID, "title": "Kindred", "author_id": ID}])
    await insert_rows(database, "documents", [{"id": ID, "name": "Thesis"}])
    for case in GENERATED_CASES:
        await add_referenced_rows(database, case)
        await add_rows(database, case, [{"n": 2, "id": ID}])


async def send_example(client: AsyncClient, operation: Operation, path: str) -> Response:
    """Send the example of an operation's request body as an admin, and return the response."""
    headers = bearer_headers(TOKENS["admin"])
    options: dict[str, Any] = {}
    content = operation.description.get("requestBody", {}).get("content", {})
    if content:
        media_type = next(iter(content))
        example = content[media_type]["example"]
        if media_type == "multipart/form-data":
            fields = [form_field(name, value) for name, value in example.items()]
            options["content"] = form_body(*fields)
            headers |= FORM_HEADERS
        elif media_type == "application/json":
            options["json"] = example
        else:
            options["data"] = example
    return await client.request(operation.method, path, headers=headers, **options)


def test_every_body_has_an_example_that_matches_its_schema(document: Json) -> None:
    for operation_id, operation in operations_by_id(document).items():
        for media_type, content in operation.media_types():
            schema = {**content["schema"], "components": document["components"]}
            validator = Draft202012Validator(schema, format_checker=FormatChecker())
            errors = list(validator.iter_errors(content["example"]))
            assert errors == [], (operation_id, media_type)


def test_streams_have_the_same_example_as_pages(document: Json) -> None:
    operations = operations_by_id(document)
    for case in ENTITIES:
        if not case.streams:
            continue
        content = dict(operations[f"list_{case.plural}"].media_types())
        [item] = content["application/json"]["example"]["items"]
        json_line = get_example(operations[f"download_{case.plural}_ndjson"])
        assert json.loads(json_line) == item
        assert json_line.endswith("\n")
        csv_file = get_example(operations[f"download_{case.plural}_csv"])
        [csv_row] = csv.DictReader(io.StringIO(csv_file))
        assert (csv_row["id"], csv_row["updated_at"]) == (item["id"], item["updated_at"])


def test_list_of_operations_with_body_is_complete(document: Json) -> None:
    operation_ids = {
        operation_id
        for operation_id, operation in operations_by_id(document).items()
        if "requestBody" in operation.description
    }
    assert operation_ids == set(OPERATIONS_WITH_BODY)


@pytest.mark.parametrize("operation_id", OPERATIONS_WITH_BODY)
async def test_request_with_the_example_succeeds(
    client: AsyncClient, database: Database, document: Json, operation_id: str
) -> None:
    await insert_rows_of_examples(database)
    if operation_id == "delete_authors":
        # An author who has a book cannot be deleted.
        await execute(database, "DELETE FROM books")
    operations = operations_by_id(document)
    operation = operations[operation_id]
    user_id = 1001
    if operation_id in {"create_token", "delete_user"}:
        # The password in these examples is that of the user in the example of a registration.
        registration = await send_example(client, operations["create_user"], "/users")
        user_id = registration.json()["id"]
    path = operation.path.format(id=user_id if "user" in operation_id else ID)
    response = await send_example(client, operation, path)
    [(expected_status, documented)] = operation.successful_responses().items()
    assert str(response.status_code) == expected_status, response.text
    if response.status_code != HTTPStatus.NO_CONTENT:
        first_media_type = next(iter(documented["content"].values()))
        assert set(response.json()) == set(first_media_type["example"])


def test_response_that_creates_a_resource_links_to_the_operations_on_it(document: Json) -> None:
    links = {
        operation_id: set(operation.description["responses"]["201"]["links"])
        for operation_id, operation in operations_by_id(document).items()
        if "links" in operation.description["responses"].get("201", {})
    }
    assert links == LINKS


@pytest.mark.parametrize(
    ("operation_id", "linked_id"),
    [
        (operation_id, linked_id)
        for operation_id in LINKS
        for linked_id in sorted(LINKS[operation_id])
    ],
)
async def test_link_leads_to_the_created_resource(
    client: AsyncClient, database: Database, document: Json, operation_id: str, linked_id: str
) -> None:
    await insert_rows_of_examples(database)
    operations = operations_by_id(document)
    operation = operations[operation_id]
    created = await send_example(client, operation, operation.path.format(id=ID))
    link = operation.description["responses"]["201"]["links"][linked_id]
    values = {"$request.path.id": ID, "$response.body#/id": created.json()["id"]}
    parameters = {name: values[expression] for name, expression in link["parameters"].items()}
    linked_operation = operations[link["operationId"]]
    path = linked_operation.path.format(**parameters)
    response = await send_example(client, operations[linked_id], path)
    # No file has been uploaded: there is no upload to complete, and no content to download.
    expected_problem_status = {"complete_upload": 409, "read_document_content": 404}.get(linked_id)
    if expected_problem_status is None:
        assert response.is_success
    else:
        assert response.status_code == expected_problem_status


def test_every_path_parameter_and_tag_is_documented(document: Json) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations_by_id(document).values():
        parameters = operation.description.get("parameters", [])
        names_in_path = set(re.findall(r"{(\w+)}", operation.path))
        assert names_in_path <= {parameter["name"] for parameter in parameters}
        assert set(operation.description["tags"]) <= tags


def test_every_tag_operation_parameter_and_header_has_a_description(document: Json) -> None:
    undescribed = [tag["name"] for tag in document["tags"] if not tag["description"]]
    for operation_id, operation in operations_by_id(document).items():
        if not operation.description.get("description"):
            undescribed.append(operation_id)
        undescribed += [
            f"{operation_id} {parameter['name']}"
            for parameter in operation.description.get("parameters", [])
            if not parameter.get("description")
        ]
    for name, header in document["components"]["headers"].items():
        if not header.get("description"):
            undescribed.append(name)
    assert undescribed == []


def test_every_model_and_field_has_a_description(document: Json) -> None:
    undescribed = []
    for model_name, schema in document["components"]["schemas"].items():
        if not schema.get("description"):
            undescribed.append(model_name)
        for field_name, field in schema.get("properties", {}).items():
            # The schema of an embedded row describes it, and the name of an id is sufficient.
            needs_no_description = (
                field_name in SELF_EXPLANATORY_FIELDS
                or field_name.endswith("_id")
                or "$ref" in json.dumps(field)
            )
            if not field.get("description") and not needs_no_description:
                undescribed.append(f"{model_name}.{field_name}")
    assert undescribed == []
