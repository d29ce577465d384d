"""Documents are their owners': to everybody else but admins they are not there."""

from typing import Any, NamedTuple

import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.storage import Storage
from app.settings import Settings
from tests.authors.test_authors import NOBODY
from tests.support.clients_with_tokens import ClientFactory
from tests.support.factories import Json, make_direct_upload, make_document
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file, send_form
from tests.support.problems import check_problem, field_error_locations
from tests.support.responses import check_parameter_error, get_json
from tests.support.rows import select_values

SORTS = ("-created_at", "size", "name,-size")
CURRENT, STALE = {"If-Match": '"1"'}, {"If-Match": '"7"'}
RENAMED = {"content": form_body(form_field("name", "x")), "headers": FORM_HEADERS}
REPLACED = {"content": form_body(form_file(b"other bytes")), "headers": FORM_HEADERS}
ANNOUNCED = {"json": {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}}


class Ask(NamedTuple):
    """What can be asked of a document, and the status that its owner gets."""

    method: str
    where: str
    status: int
    request: dict[str, Any]


def given(request: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    return request | {"headers": request.get("headers", {}) | headers}


ASKED = {
    "read": Ask("GET", "", 200, {}),
    "read again": Ask("GET", "", 304, {"headers": {"If-None-Match": "*"}}),
    "read its content": Ask("GET", "/content", 307, {}),
    "rename": Ask("PATCH", "", 200, RENAMED),
    "rename while current": Ask("PATCH", "", 200, given(RENAMED, CURRENT)),
    "rename when stale": Ask("PATCH", "", 412, given(RENAMED, STALE)),
    "rename whatever it is": Ask("PATCH", "", 200, given(RENAMED, {"If-Match": "*"})),
    "replace its file": Ask("PATCH", "", 200, REPLACED),
    "replace its file while current": Ask("PATCH", "", 200, given(REPLACED, CURRENT)),
    "change nothing": Ask("PATCH", "", 200, {"content": form_body(), "headers": FORM_HEADERS}),
    "delete": Ask("DELETE", "", 204, {}),
    "delete while current": Ask("DELETE", "", 204, {"headers": CURRENT}),
    "delete when stale": Ask("DELETE", "", 412, {"headers": STALE}),
    "delete whatever it is": Ask("DELETE", "", 204, {"headers": {"If-Match": "*"}}),
    "announce a file": Ask("POST", "/uploads", 201, ANNOUNCED),
    "read an upload": Ask("GET", "/uploads/{}", 200, {}),
    "complete an upload": Ask("POST", "/uploads/{}/complete", 200, {}),
}


@pytest.fixture
async def alice(client_with_role: ClientFactory) -> AsyncClient:
    return await client_with_role("member")


async def everything(database: Database, storage: Storage, settings: Settings) -> Any:
    """Every row of documents and their objects, and what of the test's the store has."""
    documents = await select_values(
        database, "SELECT to_jsonb(d)::text FROM documents d ORDER BY id"
    )
    objects = await select_values(
        database, "SELECT to_jsonb(o)::text FROM stored_objects o ORDER BY id"
    )
    keys = [key async for page in storage.list_keys(settings.s3_prefix) for key in page]
    return documents, objects, keys, await storage.list_multipart_uploads(settings.s3_prefix)


def shown(response: Response) -> tuple[Json, dict[str, str]]:
    """A problem and its headers, less what names the request."""
    problem = check_problem(response, 404, "not-found")
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return {**problem, "instance": "", "request_id": ""}, headers


@pytest.mark.parametrize("asked", ASKED)
async def test_what_is_somebody_elses_is_answered_as_what_is_not_there_and_stays_as_it_is(
    asked: str,
    client_with_role: ClientFactory,
    alice: AsyncClient,
    database: Database,
    storage: Storage,
    settings: Settings,
) -> None:
    method, where, status, request = ASKED[asked]
    path = f"/documents/{(await make_document(alice, content=b'hers'))['id']}"
    upload = (await make_direct_upload(alice, path, b"hers, too")).rsplit("/", 1)[1]
    before = await everything(database, storage, settings)
    for role in ("member", "editor"):
        bob = await client_with_role(role)
        response = await bob.request(method, path + where.format(upload), **request)
        nothing = await bob.request(method, f"/documents/{NOBODY}{where.format(NOBODY)}", **request)
        assert shown(response) == shown(nothing)
    assert await everything(database, storage, settings) == before
    # It was none of theirs; nothing else was wrong with it.
    response = await alice.request(method, path + where.format(upload), **request)
    assert response.status_code == status, response.text


@pytest.mark.parametrize("role", ["member", "editor"])
async def test_a_list_is_of_ones_own_whatever_is_asked_for(
    role: str, client: AsyncClient, client_with_role: ClientFactory
) -> None:
    own = await client_with_role(role)
    for name in ("Paper one", "Paper two"):
        for each in (client, await client_with_role("member"), await client_with_role("admin")):
            await make_document(each, name, b"%PDF")
    made = {(await make_document(own, name, b"%PDF"))["id"] for name in ("Paper 1", "Paper 2")}
    for parameters, total in {
        "": 2,
        "q=paper": 2,
        "q=paper&count=none": None,
        "content_type=application/pdf&count=exact": 2,
        "created_from=2020-01-01T00:00:00Z&updated_to=2200-01-01T00:00:00Z&sort=size": 2,
        "page=1&size=2&count=exact": 2,
    }.items():
        page = await get_json(own, f"/documents?{parameters}")
        assert {item["id"] for item in page["items"]} == made, parameters
        assert (page["total"], page["next"]) == (total, None), parameters
    assert (await get_json(own, "/documents?page=2"))["total"] == 2
    assert len((await get_json(own, "/documents?count=estimated"))["items"]) == 2
    assert (await get_json(own, "/documents?q=one"))["total"] == 0  # somebody else's


@pytest.mark.parametrize("sort", SORTS)
async def test_a_walk_by_cursor_meets_ones_own_only(
    sort: str, client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    bob = await client_with_role("member")
    # Between hers, in each order, are those of others; and some are equal to hers.
    for name, content in (("a", b"1"), ("b", None), ("b", b"22"), ("c", b"22")):
        for each in (bob, alice, client):
            await make_document(each, name, content)
    page = await get_json(alice, f"/documents?sort={sort}&size=1")
    walked = page["items"]
    while cursor := page["next"]:
        page = await get_json(alice, f"/documents?sort={sort}&size=1&cursor={cursor}")
        walked += page["items"]
    whole = (await get_json(alice, f"/documents?sort={sort}"))["items"]
    assert [item["id"] for item in walked] == [item["id"] for item in whole]
    assert len(whole) == 4


async def test_a_cursor_of_ones_own_list_is_of_no_use_to_another(
    client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    for name in ("one", "two"):
        await make_document(alice, name)
    cursor = (await get_json(alice, "/documents?size=1"))["next"]
    for anybody in (
        client,
        await client_with_role("member"),
        await client_with_role("editor"),
        await client_with_role("admin"),
    ):
        check_parameter_error(await anybody.get(f"/documents?size=1&cursor={cursor}"), "cursor")
    assert len((await get_json(alice, f"/documents?size=1&cursor={cursor}"))["items"]) == 1


async def test_an_admin_reaches_all_and_they_stay_their_owners(
    client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    admin, hers = await client_with_role("admin"), await make_document(alice, "Hers", b"hers")
    nobodys, own = await make_document(client, "Nobody's"), await make_document(admin, "Own")
    found = await get_json(admin, "/documents?sort=name")
    assert [item["id"] for item in found["items"]] == [hers["id"], nobodys["id"], own["id"]]
    path = f"/documents/{hers['id']}"
    upload = await make_direct_upload(admin, path, b"of the admin")
    assert (await admin.post(f"{upload}/complete")).status_code == 200
    assert (
        await send_form(admin, "PATCH", path, form_field("name", "Still hers"))
    ).status_code == 200
    assert (await get_json(alice, path))["name"] == "Still hers"
    assert (await get_json(alice, "/documents"))["total"] == 1
    assert (await admin.delete(path)).status_code == 204
    check_problem(await alice.get(path), 404, "not-found")


async def test_what_nobody_owns_is_seen_by_admins_and_by_anybody_where_all_is_open(
    client: AsyncClient, client_with_role: ClientFactory, alice: AsyncClient, settings: Settings
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    await make_document(alice)
    for anybody in (client, await client_with_role("admin")):
        assert (await get_json(anybody, "/documents"))["total"] == 2
        assert (await anybody.get(path)).status_code == 200
    for somebody in (alice, await client_with_role("editor")):
        check_problem(await somebody.get(path), 404, "not-found")
        check_problem(await somebody.delete(path), 404, "not-found")
    settings.anonymous_access = "read"
    for where in (path, "/documents"):
        check_problem(await client.get(where), 401, "unauthorized")


async def test_who_owns_a_document_is_for_nobody_to_say(
    client_with_role: ClientFactory, alice: AsyncClient
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    for each, name in ((alice, "owner_id"), (await client_with_role("admin"), "owner")):
        for method, where in (("POST", "/documents"), ("PATCH", path)):
            response = await send_form(
                each, method, where, form_field("name", "x"), form_field(name, "1")
            )
            assert field_error_locations(response) == [{"pointer": f"/{name}"}]
        check_parameter_error(await each.get(f"/documents?{name}=1"), name)
