"""Owners of documents: only they and admins can see, change and delete their documents."""

from typing import Any, NamedTuple

import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.storage import Storage
from app.settings import Settings
from tests.support.clients_with_tokens import ClientFactory
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_direct_upload, make_document
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file, send_form
from tests.support.problems import check_problem, field_error_locations
from tests.support.responses import check_parameter_error, get_json
from tests.support.rows import select_values
from tests.support.stored_objects import list_keys, list_multipart_uploads

SORTS = ("-created_at", "size", "name,-size")
CURRENT_ETAG = {"If-Match": '"1"'}
STALE_ETAG = {"If-Match": '"7"'}
NEW_NAME = {"content": form_body(form_field("name", "x")), "headers": FORM_HEADERS}
NEW_FILE = {"content": form_body(form_file(b"other bytes")), "headers": FORM_HEADERS}
NEW_UPLOAD = {"json": {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}}


class DocumentRequest(NamedTuple):
    """A request about a document, and the status that its owner gets."""

    method: str
    # The path below the path of the document. `{}` stands for the id of an upload.
    subpath: str
    status: int
    arguments: dict[str, Any]


def with_headers(arguments: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of a request, with additional headers."""
    return {**arguments, "headers": {**arguments.get("headers", {}), **headers}}


REQUESTS = {
    "read": DocumentRequest("GET", "", 200, {}),
    "read with etag": DocumentRequest("GET", "", 304, {"headers": {"If-None-Match": "*"}}),
    "read its content": DocumentRequest("GET", "/content", 307, {}),
    "rename": DocumentRequest("PATCH", "", 200, NEW_NAME),
    "rename with current etag": DocumentRequest(
        "PATCH", "", 200, with_headers(NEW_NAME, CURRENT_ETAG)
    ),
    "rename with stale etag": DocumentRequest("PATCH", "", 412, with_headers(NEW_NAME, STALE_ETAG)),
    "rename any version": DocumentRequest(
        "PATCH", "", 200, with_headers(NEW_NAME, {"If-Match": "*"})
    ),
    "replace its file": DocumentRequest("PATCH", "", 200, NEW_FILE),
    "replace its file with current etag": DocumentRequest(
        "PATCH", "", 200, with_headers(NEW_FILE, CURRENT_ETAG)
    ),
    "change nothing": DocumentRequest(
        "PATCH", "", 200, {"content": form_body(), "headers": FORM_HEADERS}
    ),
    "delete": DocumentRequest("DELETE", "", 204, {}),
    "delete with current etag": DocumentRequest("DELETE", "", 204, {"headers": CURRENT_ETAG}),
    "delete with stale etag": DocumentRequest("DELETE", "", 412, {"headers": STALE_ETAG}),
    "delete any version": DocumentRequest("DELETE", "", 204, {"headers": {"If-Match": "*"}}),
    "create an upload": DocumentRequest("POST", "/uploads", 201, NEW_UPLOAD),
    "read an upload": DocumentRequest("GET", "/uploads/{}", 200, {}),
    "complete an upload": DocumentRequest("POST", "/uploads/{}/complete", 200, {}),
}


@pytest.fixture
async def alice(client_with_role: ClientFactory) -> AsyncClient:
    return await client_with_role("member")


async def snapshot(database: Database, storage: Storage, settings: Settings) -> Any:
    """Return all rows of documents and stored objects, and all keys and uploads in the store."""
    documents = await select_values(
        database, "SELECT to_jsonb(d)::text FROM documents d ORDER BY id"
    )
    objects = await select_values(
        database, "SELECT to_jsonb(o)::text FROM stored_objects o ORDER BY id"
    )
    keys = await list_keys(storage, settings.s3_prefix)
    uploads = await list_multipart_uploads(storage, settings.s3_prefix)
    return documents, objects, keys, uploads


def comparable_problem(response: Response) -> tuple[Json, dict[str, str]]:
    """Return a 404 problem and its headers, without the values that differ by request."""
    problem = check_problem(response, 404, "not-found")
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return {**problem, "instance": "", "request_id": ""}, headers


@pytest.mark.parametrize("request_name", REQUESTS)
async def test_request_for_document_of_another_user_gets_same_404_as_unknown_document(
    request_name: str,
    client_with_role: ClientFactory,
    alice: AsyncClient,
    database: Database,
    storage: Storage,
    settings: Settings,
) -> None:
    method, subpath, status, arguments = REQUESTS[request_name]
    path = f"/documents/{(await make_document(alice, content=b'old bytes'))['id']}"
    upload_id = (await make_direct_upload(alice, path, b"new bytes")).rsplit("/", 1)[1]
    before = await snapshot(database, storage, settings)
    for role in ("member", "editor"):
        bob = await client_with_role(role)
        response = await bob.request(method, path + subpath.format(upload_id), **arguments)
        unknown_path = f"/documents/{UNKNOWN_ID}{subpath.format(UNKNOWN_ID)}"
        unknown_response = await bob.request(method, unknown_path, **arguments)
        assert comparable_problem(response) == comparable_problem(unknown_response)
    assert await snapshot(database, storage, settings) == before
    # The same request succeeds for the owner.
    response = await alice.request(method, path + subpath.format(upload_id), **arguments)
    assert response.status_code == status, response.text


@pytest.mark.parametrize("role", ["member", "editor"])
async def test_list_contains_only_documents_of_the_user(
    role: str, client: AsyncClient, client_with_role: ClientFactory
) -> None:
    user = await client_with_role(role)
    for name in ("Paper one", "Paper two"):
        for other in (client, await client_with_role("member"), await client_with_role("admin")):
            await make_document(other, name, b"%PDF")
    own_ids = {(await make_document(user, name, b"%PDF"))["id"] for name in ("Paper 1", "Paper 2")}
    for parameters, total in {
        "": 2,
        "q=paper": 2,
        "q=paper&count=none": None,
        "content_type=application/pdf&count=exact": 2,
        "created_from=2020-01-01T00:00:00Z&updated_to=2200-01-01T00:00:00Z&sort=size": 2,
        "page=1&size=2&count=exact": 2,
    }.items():
        page = await get_json(user, f"/documents?{parameters}")
        assert {item["id"] for item in page["items"]} == own_ids, parameters
        assert (page["total"], page["next"]) == (total, None), parameters
    assert (await get_json(user, "/documents?page=2"))["total"] == 2
    assert len((await get_json(user, "/documents?count=estimated"))["items"]) == 2
    assert (await get_json(user, "/documents?q=one"))["total"] == 0  # a document of another user


@pytest.mark.parametrize("sort", SORTS)
async def test_pages_by_cursor_contain_only_documents_of_the_user(
    sort: str, client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    bob = await client_with_role("member")
    # In every sort order, documents of others lie between those of Alice or are equal to them.
    for name, content in (("a", b"1"), ("b", None), ("b", b"22"), ("c", b"22")):
        for owner in (bob, alice, client):
            await make_document(owner, name, content)
    page = await get_json(alice, f"/documents?sort={sort}&size=1")
    items = page["items"]
    while cursor := page["next"]:
        page = await get_json(alice, f"/documents?sort={sort}&size=1&cursor={cursor}")
        items += page["items"]
    all_items = (await get_json(alice, f"/documents?sort={sort}"))["items"]
    assert [item["id"] for item in items] == [item["id"] for item in all_items]
    assert len(all_items) == 4


async def test_cursor_of_another_user_returns_422(
    client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    for name in ("one", "two"):
        await make_document(alice, name)
    cursor = (await get_json(alice, "/documents?size=1"))["next"]
    for other in (
        client,
        await client_with_role("member"),
        await client_with_role("editor"),
        await client_with_role("admin"),
    ):
        check_parameter_error(await other.get(f"/documents?size=1&cursor={cursor}"), "cursor")
    assert len((await get_json(alice, f"/documents?size=1&cursor={cursor}"))["items"]) == 1


async def test_admin_can_change_all_documents_and_their_owners_stay_the_same(
    client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    admin = await client_with_role("admin")
    of_alice = await make_document(alice, "Alice", b"old bytes")
    anonymous = await make_document(client, "Anonymous")
    of_admin = await make_document(admin, "Of the admin")
    page = await get_json(admin, "/documents?sort=name")
    assert [item["id"] for item in page["items"]] == [
        of_alice["id"],
        anonymous["id"],
        of_admin["id"],
    ]
    path = f"/documents/{of_alice['id']}"
    upload = await make_direct_upload(admin, path, b"new bytes")
    assert (await admin.post(f"{upload}/complete")).status_code == 200
    assert (
        await send_form(admin, "PATCH", path, form_field("name", "Still of Alice"))
    ).status_code == 200
    assert (await get_json(alice, path))["name"] == "Still of Alice"
    assert (await get_json(alice, "/documents"))["total"] == 1
    assert (await admin.delete(path)).status_code == 204
    check_problem(await alice.get(path), 404, "not-found")


async def test_document_without_owner_is_visible_to_admins_and_callers_with_full_access(
    client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient, settings: Settings
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    await make_document(alice)
    for caller in (client, await client_with_role("admin")):
        assert (await get_json(caller, "/documents"))["total"] == 2
        assert (await caller.get(path)).status_code == 200
    for user in (alice, await client_with_role("editor")):
        check_problem(await user.get(path), 404, "not-found")
        check_problem(await user.delete(path), 404, "not-found")
    settings.anonymous_access = "read"
    for target in (path, "/documents"):
        check_problem(await client.get(target), 401, "unauthorized")


async def test_owner_cannot_be_set_or_filtered(
    client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    for caller, name in ((alice, "owner_id"), (await client_with_role("admin"), "owner")):
        for method, target in (("POST", "/documents"), ("PATCH", path)):
            response = await send_form(
                caller, method, target, form_field("name", "x"), form_field(name, "1")
            )
            assert field_error_locations(response) == [{"pointer": f"/{name}"}]
        check_parameter_error(await caller.get(f"/documents?{name}=1"), name)
