"""The OpenAPI document describes every operation: parameters, bodies, problems and their schemas.

`test_openapi_responses.py` compares it with the responses of the service.
"""

import re

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from checks.references import inline_components
from tests.support.callers import set_anonymous_access
from tests.support.entities import ENTITIES
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book
from tests.support.openapi_schemas import find_schema_errors, merge_reference, objects_in

PROBLEM_MEDIA_TYPE = "application/problem+json"
# The ends of the paths of single resources, which have an ETag.
SINGLE_RESOURCE_SUFFIXES = ("/{id}", "/me", "/current")
# The operation id of each method and path.
OPERATIONS = {
    **{operation: name for case in ENTITIES for operation, name in case.operations.items()},
    ("get", "/authors/{id}/books"): "list_author_books",
    ("post", "/books/batch"): "create_books",
    ("get", "/documents/{id}/content"): "read_document_content",
    ("post", "/documents/{id}/uploads"): "create_upload",
    ("get", "/documents/{id}/uploads/{upload_id}"): "read_upload",
    ("post", "/documents/{id}/uploads/{upload_id}/complete"): "complete_upload",
    ("get", "/changes"): "list_changes",
    ("get", "/reports/user-counts"): "list_user_counts",
    ("get", "/tokens"): "list_tokens",
    ("post", "/tokens"): "create_token",
    ("delete", "/tokens/current"): "delete_current_token",
    ("delete", "/tokens/{id}"): "delete_token",
    ("get", "/users/me"): "read_current_user",
    ("get", "/livez"): "read_liveness",
    ("get", "/readyz"): "read_readiness",
    ("get", "/"): "read_service",
}
# The keys by which a list can be sorted, by the path of the list.
SORT_KEYS = {case.path: set(case.sorts) for case in ENTITIES}
SORT_KEYS["/authors/{id}/books"] = SORT_KEYS["/books"]

every_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS)
every_list = pytest.mark.parametrize("path", SORT_KEYS)
every_form = pytest.mark.parametrize(
    ("method", "path"), [("post", "/documents"), ("patch", "/documents/{id}")]
)


async def test_service_serves_document(client: AsyncClient, document: Json) -> None:
    response = await client.get("/openapi.json")
    assert (response.status_code, inline_components(response.json())) == (200, document)


async def test_document_is_openapi_3_1_and_its_references_can_be_resolved(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    # Clients resolve paths relative to the URL of the document.
    assert document["servers"] == [{"url": "/"}]
    for _, json_object in objects_in(document):
        if "$ref" in json_object:
            assert merge_reference(document, json_object)


async def test_document_has_every_operation_with_a_unique_id(document: Json) -> None:
    operation_ids = {
        (method, path): operation["operationId"]
        for path, path_item in document["paths"].items()
        for method, operation in path_item.items()
    }
    assert operation_ids == OPERATIONS
    assert len(set(operation_ids.values())) == len(operation_ids)


async def test_every_operation_has_a_short_summary(document: Json) -> None:
    for path, path_item in document["paths"].items():
        for method, operation in path_item.items():
            summary = operation["summary"]
            description = operation.get("description", "")
            message = f"{method} {path}: {summary!r}, {description!r}"
            # For example "Get a book with its author".
            assert re.fullmatch(r"[A-Z][a-z]+ [\w ,]+", summary), message
            assert len(summary) <= 50, message
            assert re.fullmatch(r"([A-Z`].*\.)?", description, re.DOTALL), message


async def test_allow_header_of_every_path_lists_the_documented_methods(
    client: AsyncClient, document: Json
) -> None:
    for path, path_item in document["paths"].items():
        allow = (await client.options(path.replace("{id}", "1"))).headers["allow"]
        methods = {method.lower() for method in allow.split(", ")}
        assert methods - {"head", "options"} == set(path_item)


@every_operation
async def test_operation_documents_the_problems_implied_by_its_method_path_and_body(
    document: Json, method: str, path: str
) -> None:
    responses = document["paths"][path][method]["responses"]
    expected = {"400", "414", "422", "431", "500"}
    if path not in {"/livez", "/"}:
        expected |= {"503"}
    if "{id}" in path:
        expected |= {"404"}
    if "requestBody" in document["paths"][path][method]:
        expected |= {"413", "415"}
    if method in {"patch", "delete"}:
        expected |= {"412"}
    assert expected <= set(responses)


@every_operation
async def test_problem_response_documents_its_types_with_valid_examples(
    document: Json, method: str, path: str
) -> None:
    for status, response in document["paths"][path][method]["responses"].items():
        if status < "400":
            assert PROBLEM_MEDIA_TYPE not in response.get("content", {})
            continue
        assert list(response["content"]) == [PROBLEM_MEDIA_TYPE]
        schema = response["content"][PROBLEM_MEDIA_TYPE]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
        examples = response["content"][PROBLEM_MEDIA_TYPE]["examples"]
        assert examples
        known_types = document["components"]["schemas"]["ProblemType"]["enum"]
        for example in examples.values():
            assert find_schema_errors(document, schema, example["value"]) == []
            assert example["value"]["type"] in known_types


@pytest.mark.parametrize(
    ("method", "path", "problem_type"),
    [
        ("post", "/users", "email-taken"),
        ("patch", "/users/{id}", "email-taken"),
        ("delete", "/authors/{id}", "author-has-books"),
    ],
)
async def test_problem_of_an_entity_is_documented_for_its_operation(
    document: Json, method: str, path: str, problem_type: str
) -> None:
    response = document["paths"][path][method]["responses"]["409"]
    assert problem_type in response["content"][PROBLEM_MEDIA_TYPE]["examples"]


async def test_every_string_has_a_maximum_length(document: Json) -> None:
    unbounded = [
        location
        for location, schema in objects_in(document)
        if schema.get("type") == "string"
        and not {"maxLength", "enum", "const"} & set(schema)
        and schema.get("format") != "binary"
        # Whole files, and the types of problems that later versions may add.
        and not re.search(r"(csv|ndjson)/schema$|Problem/properties/type/anyOf/1$", location)
    ]
    assert unbounded == []


async def test_bounds_of_every_integer_are_integers(document: Json) -> None:
    for location, schema in objects_in(document):
        if schema.get("type") == "integer":
            for bound in {"minimum", "maximum"} & set(schema):
                assert isinstance(schema[bound], int), (location, schema[bound])


@every_operation
async def test_path_parameter_documents_its_format_or_bounds(
    document: Json, method: str, path: str
) -> None:
    parameters = document["paths"][path][method].get("parameters", [])
    path_parameters = [parameter for parameter in parameters if parameter["in"] == "path"]
    assert len(path_parameters) == path.count("{")
    for parameter in path_parameters:
        assert parameter["required"]
        schema = parameter["schema"]
        if path.startswith("/users"):
            assert (schema["type"], schema["minimum"]) == ("integer", 1)
            assert schema["maximum"] == 2**63 - 1
        else:
            assert (schema["type"], schema["format"]) == ("string", "uuid")


async def test_user_id_in_a_response_has_the_bounds_of_its_column(document: Json) -> None:
    schema = document["components"]["schemas"]["UserRead"]["properties"]["id"]
    assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", 1, 2**63 - 1)
    # As a float, the bound would be one larger.
    assert isinstance(schema["maximum"], int)


@every_list
async def test_sort_parameter_documents_the_sort_keys_of_the_list(
    document: Json, path: str
) -> None:
    parameters = document["paths"][path]["get"]["parameters"]
    [sort] = [parameter for parameter in parameters if parameter["name"] == "sort"]
    assert (sort["in"], sort["style"], sort["explode"]) == ("query", "form", False)
    assert sort["schema"]["type"] == "array"
    keys = SORT_KEYS[path]
    assert set(sort["schema"]["items"]["enum"]) == keys | {f"-{key}" for key in keys}


@every_list
async def test_sort_parameter_accepts_only_the_documented_keys(
    client: AsyncClient, path: str
) -> None:
    collection = path.replace("{id}", (await make_author(client))["id"])
    for key in SORT_KEYS[path]:
        for sort in (key, f"-{key}"):
            assert (await client.get(collection, params={"sort": sort})).status_code == 200
    all_keys = ",".join(sorted(SORT_KEYS[path]))
    assert (await client.get(collection, params={"sort": all_keys})).status_code == 200
    for invalid in ("id", "version", "password_hash", f"+{key}", f"--{key}", f"{key},", " ", "x"):
        assert (await client.get(collection, params={"sort": invalid})).status_code == 422


@pytest.mark.parametrize("collection", [case.path for case in ENTITIES if not case.is_form])
async def test_json_body_is_documented_without_additional_fields(
    document: Json, collection: str
) -> None:
    for method, path in (("post", collection), ("patch", f"{collection}/{{id}}")):
        body = document["paths"][path][method]["requestBody"]
        assert body["required"]
        media_types = {"application/json"}
        if method == "patch":
            media_types.add("application/merge-patch+json")
        assert set(body["content"]) == media_types
        for content in body["content"].values():
            schema = merge_reference(document, content["schema"])
            assert schema["additionalProperties"] is False
            assert ("required" in schema) == (method == "post")


async def test_body_with_all_documented_defaults_is_accepted(
    app: FastAPI, client: AsyncClient, document: Json
) -> None:
    set_anonymous_access(app, "read")
    fields = document["components"]["schemas"]["UserCreate"]["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    body = {"name": "Ada", "email": "ada@example.com", "password": "correct horse", **defaults}
    assert (await client.post("/users", json=body)).status_code == 201


@every_form
async def test_form_is_documented_with_its_file(document: Json, method: str, path: str) -> None:
    body = document["paths"][path][method]["requestBody"]
    assert body["required"]
    assert list(body["content"]) == ["multipart/form-data"]
    schema = merge_reference(document, body["content"]["multipart/form-data"]["schema"])
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    expected_required = ["name"] if method == "post" else []
    assert schema.get("required", []) == expected_required
    assert set(schema["properties"]) == {"name", "file"}
    file = schema["properties"]["file"]
    name = schema["properties"]["name"]
    assert (file["type"], file["format"]) == ("string", "binary")
    assert (name["type"], name["minLength"], name["maxLength"]) == ("string", 1, 200)


@pytest.mark.parametrize(
    "model_name", [*(f"{case.model.__name__}Read" for case in ENTITIES), "BookAuthor"]
)
async def test_every_field_of_a_read_model_is_required(document: Json, model_name: str) -> None:
    schema = document["components"]["schemas"][model_name]
    assert schema["required"] == list(schema["properties"])
    assert not [field for field in schema["properties"].values() if "default" in field]


async def test_password_is_write_only_and_not_in_read_models(document: Json) -> None:
    for model_name, schema in document["components"]["schemas"].items():
        if "password" in schema.get("properties", {}):
            assert model_name in {"LoginForm", "UserCreate", "UserUpdate"}
            assert schema["properties"]["password"]["writeOnly"]


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_conditional_header_is_documented_only_for_operations_that_support_it(
    document: Json, header: str
) -> None:
    supporting_methods = {"patch", "delete"}
    if header == "If-None-Match":
        supporting_methods = {"get", "patch", "delete"}
    for path, path_item in document["paths"].items():
        for method, operation in path_item.items():
            parameters = [
                parameter
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "header" and parameter["name"].lower() == header.lower()
            ]
            is_single_resource = path.endswith(SINGLE_RESOURCE_SUFFIXES)
            assert bool(parameters) == (method in supporting_methods and is_single_resource)
            assert not any(parameter["required"] for parameter in parameters)
            # Not an array: a header with several ETags is one string with commas.
            assert {parameter["schema"]["type"] for parameter in parameters} <= {"string"}


async def test_link_header_is_not_longer_than_documented(
    client: AsyncClient, document: Json
) -> None:
    headers = document["paths"]["/authors"]["get"]["responses"]["200"]["headers"]
    ids = [(await make_author(client))["id"] for _ in range(2)] + [UNKNOWN_ID] * 98
    response = await client.get("/authors", params={"id": ids, "size": "1"})
    assert response.status_code == 200
    # Many proxies refuse a response whose headers are larger than 4 or 8 KiB.
    schema = merge_reference(document, headers["Link"])["schema"]
    assert len(response.headers.get("link", "")) <= schema["maxLength"]


@pytest.mark.parametrize("character", ["x", "ж", "😀", '"'])
async def test_cursor_of_the_next_page_is_not_longer_than_documented(
    client: AsyncClient, document: Json, character: str
) -> None:
    author = await make_author(client)
    for _ in range(2):
        await make_book(client, title=character * 300, author_id=author["id"])
    query = {"size": "1", "sort": "title,created_at,updated_at"}
    cursor = (await client.get("/books", params=query)).json()["next"]
    [parameter] = [
        parameter
        for parameter in document["paths"]["/books"]["get"]["parameters"]
        if parameter["name"] == "cursor"
    ]
    assert len(cursor) <= parameter["schema"]["maxLength"]
    next_page = await client.get("/books", params=query | {"cursor": cursor})
    assert (next_page.status_code, len(next_page.json()["items"])) == (200, 1)


def urls_in_page(page: str) -> list[str]:
    """Return the URLs of the scripts, styles and icons of an HTML page."""
    return re.findall(r"""(?:src|href)=["']([^"']*)""", page)


async def test_swagger_page_loads_files_only_from_its_own_origin(client: AsyncClient) -> None:
    response = await client.get("/docs")
    assert response.status_code == 200
    url_of_other_origin = r"(?:https?:)?//[a-z0-9-]+\.[a-z]"
    assert not re.search(url_of_other_origin, response.text, re.IGNORECASE)
    for url in urls_in_page(response.text):
        assert re.match("/[^/]", url)
        assert (await client.get(url)).status_code == 200


async def test_swagger_page_shows_the_document_of_the_service(client: AsyncClient) -> None:
    page = await client.get("/docs")
    assert "'/openapi.json'" in page.text.replace('"', "'")
    # At least a style, a script and an icon.
    assert len(urls_in_page(page.text)) >= 3
