"""The responses of the service match the OpenAPI document: status, headers and body.

The tests check the responses to valid and invalid requests to the operations of every entity.
"""

import json
from typing import Any, NamedTuple

import pytest
from httpx import AsyncClient, Response

from tests.support.entities import ENTITIES
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_book
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file
from tests.support.openapi_schemas import find_schema_errors, merge_reference
from tests.support.requests import valid_body
from tests.support.responses import COMMON_RESPONSE_HEADERS

DOCUMENTS = "/documents"
DOCUMENT = "/documents/{id}"
UPLOADS = "/documents/{id}/uploads"
UPLOAD = "/documents/{id}/uploads/{upload_id}"
UNKNOWN_PARAMETER = {"x": "1"}
JSON_HEADERS = {"Content-Type": "application/json"}
TEXT_HEADERS = {"Content-Type": "text/plain"}
STALE_IF_MATCH = {"If-Match": '"7"'}
# Entity tags have to be in quotes.
MALFORMED_CONDITIONS = {"If-Match": "7", "If-None-Match": "7"}
TOO_LARGE_FORM_HEADERS = FORM_HEADERS | {"Content-Length": "9" * 15}
TOO_LARGE_BODY = b" " * 2_000_000


class Exchange(NamedTuple):
    """A request to an operation, and the response to it."""

    method: str
    path_template: str
    response: Response

    def documented_response(self, document: Json) -> Json:
        """Return the part of the document for this status, or {} if the status is undocumented."""
        responses = document["paths"][self.path_template][self.method]["responses"]
        documented: Json = responses.get(str(self.response.status_code), {})
        return documented


class ExchangeRecorder:
    """Sends requests and records them with their responses."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.exchanges: list[Exchange] = []

    async def send(
        self,
        method: str,
        path_template: str,
        id: object = "",
        *,
        upload_id: object = "",
        body: Json | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Response:
        """Send a request to an operation, for example to `get` of `/books/{id}`.

        A `body` is sent as a form to paths of documents, and as JSON to all others.
        """
        path = path_template.replace("{id}", str(id)).replace("{upload_id}", str(upload_id))
        if body is not None:
            options["content"], content_headers = encode_body(path_template, body)
            headers = content_headers | (headers or {})
        response = await self.client.request(method.upper(), path, headers=headers, **options)
        self.exchanges.append(Exchange(method, path_template, response))
        return response

    async def send_to_collection(self, collection: str, valid: Json) -> None:
        """Send valid and invalid requests to the operations of an entity.

        `valid` is a body that creates a row of the entity.
        """
        send = self.send
        item = f"{collection}/{{id}}"
        _, content_headers = encode_body(collection, valid)
        row_id = (await send("post", collection, body=valid)).json()["id"]
        await send("post", collection, body=valid)  # 409 for a user
        await send("post", collection, body={})
        await send("post", collection, body=valid | {"author_id": UNKNOWN_ID})
        await send("post", collection, content=b"{", headers=content_headers)
        await send("post", collection, content=TOO_LARGE_BODY, headers=content_headers)
        await send("post", collection, content=b"{}", headers=TEXT_HEADERS)
        await send("post", collection, body=valid, params=UNKNOWN_PARAMETER)
        await send("get", collection)
        await send("get", collection, params={"size": "1"})
        await send("get", collection, params={"page": "9", "count": "estimated"})
        await send("get", collection, params=UNKNOWN_PARAMETER)
        await send("get", collection, params={"page": "1", "cursor": "x"})
        unknown_id = 1_000_000 if collection == "/users" else UNKNOWN_ID
        malformed_id = "x"
        for item_id in (row_id, unknown_id, malformed_id):
            await send("get", item, item_id)
            await send("get", item, item_id, headers={"If-None-Match": "*"})
            await send("get", item, item_id, headers=MALFORMED_CONDITIONS)
            await send("get", item, item_id, params=UNKNOWN_PARAMETER)
            await send("patch", item, item_id, body={})
            await send("patch", item, item_id, body={}, headers=STALE_IF_MATCH)
            await send("patch", item, item_id, body={}, headers=MALFORMED_CONDITIONS)
            await send("patch", item, item_id, body={"name": None, "title": None})
            await send("patch", item, item_id, content=b"{", headers=content_headers)
            await send("patch", item, item_id, content=TOO_LARGE_BODY, headers=content_headers)
            await send("patch", item, item_id, content=b"{}", headers=TEXT_HEADERS)
            await send("patch", item, item_id, body={}, params=UNKNOWN_PARAMETER)
            await send("delete", item, item_id, headers=STALE_IF_MATCH)
            await send("delete", item, item_id, headers=MALFORMED_CONDITIONS)
            await send("delete", item, item_id, params=UNKNOWN_PARAMETER)
        await send("delete", item, row_id)

    async def send_to_books_of_an_author(self) -> None:
        book = await make_book(self.client)
        for author_id in (book["author_id"], UNKNOWN_ID, "x"):
            await self.send("get", "/authors/{id}/books", author_id)
            await self.send("get", "/authors/{id}/books", author_id, params=UNKNOWN_PARAMETER)
            await self.send("delete", "/authors/{id}", author_id)

    async def send_to_documents(self) -> None:
        """Send requests with files, and requests for direct uploads."""
        send = self.send
        form = form_body(form_field("name", "Thesis"), form_file(b"x"))
        document = (await send("post", DOCUMENTS, content=form, headers=FORM_HEADERS)).json()
        await send("post", DOCUMENTS, content=b"", headers=TOO_LARGE_FORM_HEADERS)
        await send("get", DOCUMENTS)
        upload = {"filename": "x", "content_type": "text/plain", "size": 1}
        for document_id in (document["id"], UNKNOWN_ID, "x"):
            await send("get", DOCUMENT, document_id)
            await send("get", f"{DOCUMENT}/content", document_id)
            await send("get", f"{DOCUMENT}/content", document_id, params=UNKNOWN_PARAMETER)
            await send("patch", DOCUMENT, document_id, content=form, headers=FORM_HEADERS)
            await send("patch", DOCUMENT, document_id, content=b"", headers=TOO_LARGE_FORM_HEADERS)
            await send(
                "patch", DOCUMENT, document_id, content=form, headers=FORM_HEADERS | STALE_IF_MATCH
            )
            created = (await send("post", UPLOADS, document_id, body=upload)).json()
            for upload_id in (created.get("id", UNKNOWN_ID), UNKNOWN_ID, "x"):
                await send("get", UPLOAD, document_id, upload_id=upload_id)
                # 409, because no part of the file has been uploaded.
                await send("post", f"{UPLOAD}/complete", document_id, upload_id=upload_id)
            await send("post", UPLOADS, document_id, body={})
            await send("post", UPLOADS, document_id, body=upload | {"size": 2**60})
            await send("post", UPLOADS, document_id, content=b"{", headers=JSON_HEADERS)
            await send("post", UPLOADS, document_id, content=b"{}", headers=TEXT_HEADERS)


def encode_body(path_template: str, body: Json) -> tuple[bytes, dict[str, str]]:
    """Return the content of a request, and its Content-Type header."""
    if path_template in {DOCUMENTS, DOCUMENT}:
        fields = [form_field(name, str(value)) for name, value in body.items()]
        return form_body(*fields), FORM_HEADERS
    return json.dumps(body).encode(), JSON_HEADERS


@pytest.fixture
async def exchanges(client: AsyncClient) -> list[Exchange]:
    """Valid and invalid requests to all operations, with the responses to them."""
    recorder = ExchangeRecorder(client)
    for case in ENTITIES:
        await recorder.send_to_collection(case.path, await valid_body(client, case))
    await recorder.send_to_books_of_an_author()
    await recorder.send_to_documents()
    for path in ("/livez", "/readyz"):
        await recorder.send("get", path)
        await recorder.send("get", path, params=UNKNOWN_PARAMETER)
    return recorder.exchanges


async def test_every_response_has_the_documented_status_body_and_headers(
    document: Json, exchanges: list[Exchange]
) -> None:
    assert_statuses_are_documented(document, exchanges)
    assert_bodies_match_their_schemas(document, exchanges)
    assert_headers_are_documented(document, exchanges)
    assert_documented_headers_are_sent(document, exchanges)


def assert_statuses_are_documented(document: Json, exchanges: list[Exchange]) -> None:
    undocumented = {
        (exchange.method, exchange.path_template, exchange.response.status_code)
        for exchange in exchanges
        if not exchange.documented_response(document)
    }
    assert undocumented == set()


def assert_bodies_match_their_schemas(document: Json, exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        response = exchange.response
        documented = exchange.documented_response(document)
        if not response.content:
            assert "content" not in documented
        elif documented:
            schema = documented["content"][response.headers["content-type"]]["schema"]
            assert find_schema_errors(document, schema, response.json()) == [], exchange


def assert_headers_are_documented(document: Json, exchanges: list[Exchange]) -> None:
    undocumented = set()
    for exchange in exchanges:
        documented = exchange.documented_response(document)
        if not documented:
            continue
        header_names = {name.lower() for name in documented.get("headers", {})}
        for name in set(exchange.response.headers) - header_names - COMMON_RESPONSE_HEADERS:
            undocumented.add((name, exchange.method, exchange.path_template))
    assert sorted(undocumented) == []


def assert_documented_headers_are_sent(document: Json, exchanges: list[Exchange]) -> None:
    """Check that responses have all documented headers, with values that match their schemas."""
    for exchange in exchanges:
        response = exchange.response
        headers = exchange.documented_response(document).get("headers", {})
        for name, header in headers.items():
            # No request of this test has an Idempotency-Key.
            needs_idempotency_key = name == "Idempotency-Replayed" or (
                name == "Retry-After" and response.status_code == 409
            )
            # A 415 has one of these two headers.
            is_alternative = name in {"Accept", "Accept-Encoding"}
            if needs_idempotency_key or is_alternative:
                continue
            assert name in response.headers, exchange
            schema = merge_reference(document, header)["schema"]
            value: object = response.headers[name]
            if schema["type"] == "integer":
                value = int(response.headers[name])
            assert find_schema_errors(document, schema, value) == []
