"""The OpenAPI document is true: it knows every operation, and the service answers as it says."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from tests.authors.test_authors import NOBODY
from tests.support.callers import set_anonymous_access
from tests.support.entities import ENTITIES
from tests.support.factories import Json, make_author, make_book
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file
from tests.support.requests import valid_body
from tests.support.responses import COMMON_RESPONSE_HEADERS

PROBLEM = "application/problem+json"
REPLAYED = "Idempotency-Replayed"
SINGLE = ("/{id}", "/me", "/current")  # how the paths of single resources end
DOCUMENTS, DOCUMENT = "/documents", "/documents/{id}"
UPLOADS, UPLOAD = "/documents/{id}/uploads", "/documents/{id}/uploads/{upload_id}"
OPERATIONS = {
    **{operation: name for case in ENTITIES for operation, name in case.operations.items()},
    ("get", "/authors/{id}/books"): "list_author_books",
    ("post", "/books/batch"): "create_books",
    ("get", "/documents/{id}/content"): "read_document_content",
    ("post", "/documents/{id}/uploads"): "create_upload",
    ("get", "/documents/{id}/uploads/{upload_id}"): "read_upload",
    ("post", "/documents/{id}/uploads/{upload_id}/complete"): "complete_upload",
    ("get", "/reports/user-counts"): "list_user_counts",
    ("get", "/tokens"): "list_tokens",
    ("post", "/tokens"): "create_token",
    ("delete", "/tokens/current"): "delete_current_token",
    ("delete", "/tokens/{id}"): "delete_token",
    ("get", "/users/me"): "read_current_user",
    ("get", "/livez"): "read_liveness",
    ("get", "/readyz"): "read_readiness",
}
SORTS = {case.path: set(case.sorts) for case in ENTITIES}
SORTS["/authors/{id}/books"] = SORTS["/books"]

operations = pytest.mark.parametrize(("method", "path"), OPERATIONS)
lists = pytest.mark.parametrize("path", SORTS)
forms = pytest.mark.parametrize(("method", "path"), [("post", DOCUMENTS), ("patch", DOCUMENT)])


@pytest.fixture
async def document(client: AsyncClient) -> Json:
    answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    found: Json = answer.json()
    return found


def nodes(node: Any, where: str = "#") -> Iterator[tuple[str, Json]]:
    """Every object of a document with its place."""
    if isinstance(node, dict):
        yield where, node
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        if isinstance(child, dict | list):
            yield from nodes(child, f"{where}/{key}")


def resolved(document: Json, schema: Json) -> Json:
    """The schema with what it refers to, its own keywords beside."""
    if "$ref" not in schema:
        return schema
    target: Json = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    merged = {**resolved(document, target), **schema}
    if "properties" in schema:
        merged["properties"] = {
            name: {**target["properties"].get(name, {}), **more}
            for name, more in {**target["properties"], **schema["properties"]}.items()
        }
    del merged["$ref"]
    return merged


TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}
FORMATS: dict[str, Callable[[str], object]] = {
    "uuid": UUID,
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "email": str,
    "password": str,
}


def faults(document: Json, schema: Json, value: Any, where: str = "") -> list[str]:
    """Why a value is not what a schema says; an object's undocumented members count as well."""
    schema = resolved(document, schema)
    if "anyOf" in schema:
        options = [faults(document, option, value, where) for option in schema["anyOf"]]
        return [] if [] in options else options[0]
    named = schema.get("type", "object")
    if not isinstance(value, TYPES[named]) or (named != "boolean" and isinstance(value, bool)):
        return [f"{where} is no {named}"]
    found = list(_bounds(schema, value, where))
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{where}/{name} is missing" for name in set(schema["required"]) - set(value)]
        found += [f"{where}/{name} is undocumented" for name in set(value) - set(known)]
        for name in set(value) & set(known):
            found += faults(document, known[name], value[name], f"{where}/{name}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += faults(document, schema["items"], item, f"{where}/{number}")
    return found


def _bounds(schema: Json, value: Any, where: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is not {schema['const']}"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield f"{where} has {len(value)} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where} does not match {schema['pattern']}"
        if "format" in schema:
            FORMATS[schema["format"]](value)
    if isinstance(value, int) and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{where} is out of bounds"


Answers = list[tuple[str, str, Response]]


JSON = {"Content-Type": "application/json"}
STRANGE = {"x": "1"}
STALE = {"If-Match": '"7"'}
WRONG = {"If-Match": "7", "If-None-Match": "7"}
PLAIN = {"Content-Type": "text/plain"}
LARGE = FORM_HEADERS | {"Content-Length": "9" * 15}


def encoded(template: str, body: Json) -> tuple[bytes, dict[str, str]]:
    """A body as the operations of a path take it, and the header that says so."""
    if template in {DOCUMENTS, DOCUMENT}:
        return form_body(
            *(form_field(name, str(value)) for name, value in body.items())
        ), FORM_HEADERS
    return json.dumps(body).encode(), JSON


class Asking:
    """Sends requests and keeps what the service answers, with method and path template."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.answers: Answers = []

    async def send(
        self,
        method: str,
        template: str,
        key: object = "",
        *,
        upload: object = "",
        body: Json | None = None,
        headers: dict[str, str] | None = None,
        **request: Any,
    ) -> Response:
        path = template.replace("{id}", str(key)).replace("{upload_id}", str(upload))
        if body is not None:
            request["content"], kind = encoded(template, body)
            headers = kind | (headers or {})
        answer = await self.client.request(method.upper(), path, headers=headers, **request)
        self.answers.append((method, template, answer))
        return answer

    async def of_collection(self, collection: str, body: Json) -> None:
        send, item = self.send, f"{collection}/{{id}}"
        nobody = 1_000_000 if collection == "/users" else NOBODY
        _, kind = encoded(collection, body)
        key = (await send("post", collection, body=body)).json()["id"]
        await send("post", collection, body=body)  # 409 for a user
        await send("post", collection, body={})
        await send("post", collection, body=body | {"author_id": NOBODY})
        await send("post", collection, content=b"{", headers=kind)
        await send("post", collection, content=b" " * 2_000_000, headers=kind)
        await send("post", collection, content=b"{}", headers=PLAIN)
        await send("post", collection, body=body, params=STRANGE)
        await send("get", collection)
        await send("get", collection, params={"size": "1"})
        await send("get", collection, params={"page": "9", "count": "estimated"})
        await send("get", collection, params=STRANGE)
        await send("get", collection, params={"page": "1", "cursor": "x"})
        for found in (key, nobody, "x"):
            await send("get", item, found)
            await send("get", item, found, headers={"If-None-Match": "*"})
            await send("get", item, found, headers=WRONG)
            await send("get", item, found, params=STRANGE)
            await send("patch", item, found, body={})
            await send("patch", item, found, body={}, headers=STALE)
            await send("patch", item, found, body={}, headers=WRONG)
            await send("patch", item, found, body={"name": None, "title": None})
            await send("patch", item, found, content=b"{", headers=kind)
            await send("patch", item, found, content=b" " * 2_000_000, headers=kind)
            await send("patch", item, found, content=b"{}", headers=PLAIN)
            await send("patch", item, found, body={}, params=STRANGE)
            await send("delete", item, found, headers=STALE)
            await send("delete", item, found, headers=WRONG)
            await send("delete", item, found, params=STRANGE)
        await send("delete", item, key)

    async def of_books_of_an_author(self) -> None:
        send, book = self.send, await make_book(self.client)
        for key in (book["author_id"], NOBODY, "x"):
            await send("get", "/authors/{id}/books", key)
            await send("get", "/authors/{id}/books", key, params=STRANGE)
            await send("delete", "/authors/{id}", key)

    async def of_files(self) -> None:
        send, content = self.send, form_body(form_field("name", "Thesis"), form_file(b"x"))
        document = (await send("post", DOCUMENTS, content=content, headers=FORM_HEADERS)).json()
        await send("post", DOCUMENTS, content=b"", headers=LARGE)
        await send("get", DOCUMENTS)
        head = {"filename": "x", "content_type": "text/plain", "size": 1}
        for key in (document["id"], NOBODY, "x"):
            await send("get", DOCUMENT, key)
            await send("get", f"{DOCUMENT}/content", key)
            await send("get", f"{DOCUMENT}/content", key, params=STRANGE)
            await send("patch", DOCUMENT, key, content=content, headers=FORM_HEADERS)
            await send("patch", DOCUMENT, key, content=b"", headers=LARGE)
            await send("patch", DOCUMENT, key, content=content, headers=FORM_HEADERS | STALE)
            upload = (await send("post", UPLOADS, key, body=head)).json().get("id", NOBODY)
            for found in (upload, NOBODY, "x"):
                await send("get", UPLOAD, key, upload=found)
                await send("post", f"{UPLOAD}/complete", key, upload=found)  # 409: nothing came
            for wrong_head in ({}, head | {"size": 2**60}):
                await send("post", UPLOADS, key, body=wrong_head)
            await send("post", UPLOADS, key, content=b"{", headers=JSON)
            await send("post", UPLOADS, key, content=b"{}", headers=PLAIN)


@pytest.fixture
async def answers(client: AsyncClient) -> Answers:
    """What the service answered to a bit of everything, each with its method and path template."""
    asking = Asking(client)
    for case in ENTITIES:
        await asking.of_collection(case.path, await valid_body(client, case))
    await asking.of_books_of_an_author()
    await asking.of_files()
    for path in ("/livez", "/readyz"):
        await asking.send("get", path)
        await asking.send("get", path, params=STRANGE)
    return asking.answers


def response_of(document: Json, method: str, path: str, answer: Response) -> Json:
    """What the document says of such an answer; empty where it says nothing."""
    found: Json = document["paths"][path][method]["responses"].get(str(answer.status_code), {})
    return found


async def test_the_document_is_openapi_3_1_and_all_its_references_lead_somewhere(
    document: Json,
) -> None:
    assert document["openapi"].startswith("3.1.")
    assert "servers" not in document  # it is served by whoever serves the service
    for _, node in nodes(document):
        if "$ref" in node:
            assert resolved(document, node)


async def test_the_document_knows_every_operation_by_the_name_of_a_function(document: Json) -> None:
    found = {
        (method, path): operation["operationId"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert found == OPERATIONS
    assert len(set(found.values())) == len(found)


async def test_every_operation_has_a_short_summary(document: Json) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            summary, description = operation["summary"], operation.get("description", "")
            place = f"{method} {path}: {summary!r}, {description!r}"
            # The first paragraph of a docstring, such as "Log in." or "Get a book.".
            assert re.fullmatch(r"[A-Z][a-z]+ [\w ]+", summary), place
            assert len(summary) <= 50, place
            assert re.fullmatch(r"([A-Z`].*\.)?", description, re.DOTALL), place


async def test_a_path_allows_what_the_document_says(client: AsyncClient, document: Json) -> None:
    for path, item in document["paths"].items():
        allow = (await client.options(path.replace("{id}", "1"))).headers["allow"]
        methods = {method.lower() for method in allow.split(", ")}
        assert methods - {"head", "options"} == set(item)


@operations
async def test_an_operation_lists_the_problems_that_follow_from_what_it_takes(
    document: Json, method: str, path: str
) -> None:
    responses = document["paths"][path][method]["responses"]
    expected = {"422", "500"}
    if path != "/livez":
        expected |= {"503"}
    if "{id}" in path:
        expected |= {"404"}
    if "requestBody" in document["paths"][path][method]:
        expected |= {"400", "413", "415"}
    if method in {"patch", "delete"}:
        expected |= {"412"}
    assert expected <= set(responses)


@operations
async def test_an_operation_gives_each_problem_its_type(
    document: Json, method: str, path: str
) -> None:
    for status, response in document["paths"][path][method]["responses"].items():
        if status < "400":
            assert PROBLEM not in response.get("content", {})
            continue
        assert list(response["content"]) == [PROBLEM]
        schema = response["content"][PROBLEM]["schema"]
        assert schema["$ref"] == "#/components/schemas/Problem"
        types = schema["properties"]["type"]["enum"]
        assert types
        assert all(name.startswith("urn:problem-type:bookshelf:") for name in types)
        for example in response["content"][PROBLEM].get("examples", {}).values():
            assert faults(document, schema, example["value"]) == []


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("post", "/users", "email-taken"),
        ("patch", "/users/{id}", "email-taken"),
        ("delete", "/authors/{id}", "author-has-books"),
    ],
)
async def test_a_particular_failure_is_listed(
    document: Json, method: str, path: str, kind: str
) -> None:
    response = document["paths"][path][method]["responses"]["409"]
    types = response["content"][PROBLEM]["schema"]["properties"]["type"]["enum"]
    assert f"urn:problem-type:bookshelf:{kind}" in types


async def test_every_string_has_a_greatest_length(document: Json) -> None:
    unbounded = [
        where
        for where, node in nodes(document)
        if node.get("type") == "string"
        and not {"maxLength", "enum", "const"} & set(node)
        and node.get("format") != "binary"
    ]
    assert unbounded == []


async def test_every_integer_has_bounds_that_are_integers(document: Json) -> None:
    for where, node in nodes(document):
        if node.get("type") == "integer":
            for bound in {"minimum", "maximum"} & set(node):
                assert isinstance(node[bound], int), (where, node[bound])


@operations
async def test_a_path_id_has_a_format_and_bounds(document: Json, method: str, path: str) -> None:
    parameters = document["paths"][path][method].get("parameters", [])
    ids = [parameter for parameter in parameters if parameter["in"] == "path"]
    assert len(ids) == path.count("{")
    for parameter in ids:
        assert parameter["required"]
        schema = parameter["schema"]
        if path.startswith("/users"):
            assert (schema["type"], schema["minimum"]) == ("integer", 1)
            assert schema["maximum"] == 2**63 - 1
        else:
            assert (schema["type"], schema["format"]) == ("string", "uuid")


async def test_a_user_id_in_an_answer_has_the_bounds_of_its_column(document: Json) -> None:
    schema = document["components"]["schemas"]["UserRead"]["properties"]["id"]
    assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", 1, 2**63 - 1)
    assert isinstance(schema["maximum"], int)  # as a double it would be one too many


@lists
async def test_sort_is_a_list_of_the_allowed_keys(document: Json, path: str) -> None:
    parameters = document["paths"][path]["get"]["parameters"]
    [sort] = [parameter for parameter in parameters if parameter["name"] == "sort"]
    assert (sort["in"], sort["style"], sort["explode"]) == ("query", "form", False)
    assert sort["schema"]["type"] == "array"
    keys = SORTS[path]
    assert set(sort["schema"]["items"]["enum"]) == keys | {f"-{key}" for key in keys}


@lists
async def test_sort_takes_what_the_document_says_and_nothing_else(
    client: AsyncClient, path: str
) -> None:
    collection = path.replace("{id}", (await make_author(client))["id"])
    for key in SORTS[path]:
        for sort in (key, f"-{key}"):
            assert (await client.get(collection, params={"sort": sort})).status_code == 200
    everything = ",".join(sorted(SORTS[path]))
    assert (await client.get(collection, params={"sort": everything})).status_code == 200
    for wrong in ("id", "version", "password_hash", f"+{key}", f"--{key}", f"{key},", " ", "x"):
        assert (await client.get(collection, params={"sort": wrong})).status_code == 422


@pytest.mark.parametrize("collection", [case.path for case in ENTITIES if not case.is_form])
async def test_a_body_refuses_what_the_document_does_not_know(
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
            schema = resolved(document, content["schema"])
            assert schema["additionalProperties"] is False
            assert ("required" in schema) == (method == "post")


async def test_whoever_fills_in_the_defaults_of_a_body_is_not_refused_for_it(
    app: FastAPI, client: AsyncClient, document: Json
) -> None:
    set_anonymous_access(app, "read")
    fields = document["components"]["schemas"]["UserCreate"]["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    body = {"name": "Ada", "email": "ada@example.com", "password": "correct horse", **defaults}
    assert (await client.post("/users", json=body)).status_code == 201


@forms
async def test_a_form_is_documented_with_its_file(document: Json, method: str, path: str) -> None:
    body = document["paths"][path][method]["requestBody"]
    assert body["required"]
    assert list(body["content"]) == ["multipart/form-data"]
    schema = resolved(document, body["content"]["multipart/form-data"]["schema"])
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert schema.get("required", []) == (["name"] if method == "post" else [])
    assert set(schema["properties"]) == {"name", "file"}
    file, name = schema["properties"]["file"], schema["properties"]["name"]
    assert (file["type"], file["format"]) == ("string", "binary")
    assert (name["type"], name["minLength"], name["maxLength"]) == ("string", 1, 200)


@pytest.mark.parametrize(
    "name", [*(f"{case.model.__name__}Read" for case in ENTITIES), "BookAuthor"]
)
async def test_every_field_of_an_answer_is_required(document: Json, name: str) -> None:
    schema = document["components"]["schemas"][name]
    assert schema["required"] == list(schema["properties"])
    assert not [field for field in schema["properties"].values() if "default" in field]


async def test_the_password_is_in_no_answers_schema(document: Json) -> None:
    for name, schema in document["components"]["schemas"].items():
        if "password" in schema.get("properties", {}):
            assert name in {"LogIn", "UserCreate", "UserUpdate"}
            assert schema["properties"]["password"]["writeOnly"]


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_condition_is_documented_where_it_is_heeded(document: Json, header: str) -> None:
    methods = {"If-Match": {"patch", "delete"}, "If-None-Match": {"get"}}[header]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = [
                parameter
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "header" and parameter["name"].lower() == header.lower()
            ]
            assert bool(parameters) == (method in methods and path.endswith(SINGLE))
            assert not any(parameter["required"] for parameter in parameters)
            # Several lines of it are one, with commas between; not so many headers.
            assert {parameter["schema"]["type"] for parameter in parameters} <= {"string"}


async def test_the_service_answers_only_with_documented_statuses(
    document: Json, answers: Answers
) -> None:
    undocumented = {
        (method, path, answer.status_code)
        for method, path, answer in answers
        if not response_of(document, method, path, answer)
    }
    assert undocumented == set()


async def test_what_the_service_answers_is_what_the_document_says(
    document: Json, answers: Answers
) -> None:
    for method, path, answer in answers:
        response = response_of(document, method, path, answer)
        if not answer.content:
            assert "content" not in response
        elif response:  # a status that is not documented at all has a test of its own
            schema = response["content"][answer.headers["content-type"]]["schema"]
            assert faults(document, schema, answer.json()) == [], (method, path, answer)


async def test_the_headers_of_an_answer_are_documented(document: Json, answers: Answers) -> None:
    undocumented = set()
    for method, path, answer in answers:
        if response := response_of(document, method, path, answer):
            known = {name.lower() for name in response.get("headers", {})}
            unknown = set(answer.headers) - known - COMMON_RESPONSE_HEADERS
            undocumented |= {(name, method, path, answer.status_code) for name in unknown}
    assert sorted(undocumented) == []


async def test_a_documented_header_is_there(document: Json, answers: Answers) -> None:
    for method, path, answer in answers:
        headers = response_of(document, method, path, answer).get("headers", {})
        for name, header in headers.items():
            if (name, answer.status_code) == ("Retry-After", 409) or name == REPLAYED:
                continue  # only to what is sent again, with a key
            assert name in answer.headers, (method, path, answer)
            schema = resolved(document, header)["schema"]
            given = answer.headers[name]
            value = int(given) if schema["type"] == "integer" else given
            assert faults(document, schema, value) == []


async def test_a_link_header_keeps_to_its_documented_length(
    client: AsyncClient, document: Json
) -> None:
    headers = document["paths"]["/authors"]["get"]["responses"]["200"]["headers"]
    ids = [(await make_author(client))["id"] for _ in range(2)] + [NOBODY] * 98
    answer = await client.get("/authors", params={"id": ids, "size": "1"})
    assert answer.status_code == 200
    # Proxies give an answer's headers 4 or 8 KiB, and fail it beyond.
    schema = resolved(document, headers["Link"])["schema"]
    assert len(answer.headers.get("link", "")) <= schema["maxLength"]


@pytest.mark.parametrize("character", ["x", "ж", "😀", '"'])
async def test_a_next_cursor_is_one_that_the_document_allows(
    client: AsyncClient, document: Json, character: str
) -> None:
    author = await make_author(client)
    for _ in range(2):
        await make_book(client, title=character * 300, author_id=author["id"])
    page = {"size": "1", "sort": "title,created_at,updated_at"}
    cursor = (await client.get("/books", params=page)).json()["next"]
    [parameter] = [
        parameter
        for parameter in document["paths"]["/books"]["get"]["parameters"]
        if parameter["name"] == "cursor"
    ]
    assert len(cursor) <= parameter["schema"]["maxLength"]
    following = await client.get("/books", params=page | {"cursor": cursor})
    assert (following.status_code, len(following.json()["items"])) == (200, 1)


def links(page: str) -> list[str]:
    return re.findall(r"""(?:src|href)=["']([^"']*)""", page)


@pytest.mark.parametrize("page", ["/docs"])
async def test_the_swagger_page_needs_no_other_origin(client: AsyncClient, page: str) -> None:
    answer = await client.get(page)
    assert answer.status_code == 200
    assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", answer.text, re.IGNORECASE)
    for link in links(answer.text):
        assert re.match("/[^/]", link)
        assert (await client.get(link)).status_code == 200


async def test_the_swagger_page_shows_this_document(client: AsyncClient) -> None:
    page = await client.get("/docs")
    assert "'/openapi.json'" in page.text.replace('"', "'")
    assert len(links(page.text)) >= 3  # style, script, icon


async def test_the_root_leads_to_the_swagger_page(client: AsyncClient) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
