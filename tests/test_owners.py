"""Owners: lists of a user's own rows, the owners of documents, and the role of a user."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from tests.support.access_table import INSUFFICIENT_SCOPE_CHALLENGE
from tests.support.accounts import bearer_headers
from tests.support.callers import (
    DOCUMENT_ID,
    PASSWORD,
    TOKEN_IDS,
    TOKEN_OWNERS,
    TOKENS,
    UPLOAD_ID,
    USER_IDS,
    add_callers,
    add_resources,
    set_anonymous_access,
)
from tests.support.factories import Json, make_document
from tests.support.problems import check_problem
from tests.support.rows import execute, select_values

REGISTRATION = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}

every_caller = pytest.mark.parametrize("caller", ["owner", "stranger", "editor", "admin"])
every_role = pytest.mark.parametrize("role", ["member", "editor", "admin"])


@pytest.fixture(autouse=True)
async def callers(database: Database) -> None:
    await add_callers(database)
    await add_resources(database, "owner")


async def fetch_roles(database: Database) -> list[str]:
    """Return the roles of all users. Their number tells whether a user was added."""
    return await select_values(database, "SELECT role FROM users ORDER BY id")


# Lists


@pytest.mark.parametrize(
    ("caller", "total"), [("owner", 1), ("stranger", 0), ("editor", 0), ("admin", 2)]
)
@pytest.mark.parametrize("path", ["/documents", "/documents?q=thesis&sort=-size"])
async def test_list_of_documents_contains_own_documents_or_all_for_an_admin(
    client: AsyncClient, path: str, caller: str, total: int
) -> None:
    await make_document(client, "Thesis without owner")
    page = (await client.get(path, headers=bearer_headers(TOKENS[caller]))).json()
    assert (len(page["items"]), page["total"]) == (total, total)


async def test_list_of_documents_contains_all_for_anonymous_caller_with_full_access(
    client: AsyncClient,
) -> None:
    await make_document(client, "Thesis without owner")
    assert (await client.get("/documents")).json()["total"] == 2


async def test_pages_by_cursor_contain_only_own_documents(
    client: AsyncClient, database: Database
) -> None:
    for caller in ("owner", "stranger"):
        client.headers = bearer_headers(TOKENS[caller])
        for name in ("a", "b", "c"):
            await make_document(client, name)
    names = list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page: Json = (await client.get(f"/documents?sort=name&size=1{cursor}")).json()
        names += [document["name"] for document in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert names == ["a", "b", "c"]


async def test_cursor_of_another_user_returns_422(client: AsyncClient) -> None:
    await make_document(client)
    page = (await client.get("/documents?size=1", headers=bearer_headers(TOKENS["admin"]))).json()
    response = await client.get(
        f"/documents?size=1&cursor={page['next']}", headers=bearer_headers(TOKENS["owner"])
    )
    check_problem(response, 422, "invalid-request")


@every_caller
async def test_list_of_tokens_contains_only_own_tokens_even_for_an_admin(
    client: AsyncClient, caller: str
) -> None:
    page = (await client.get("/tokens", headers=bearer_headers(TOKENS[caller]))).json()
    own_ids = {str(TOKEN_IDS[name]) for name, owner in TOKEN_OWNERS.items() if owner == caller}
    assert {token["id"] for token in page["items"]} == own_ids
    assert page["total"] == len(own_ids)


@every_caller
async def test_current_user_is_the_owner_of_the_token(client: AsyncClient, caller: str) -> None:
    user = (await client.get("/users/me", headers=bearer_headers(TOKENS[caller]))).json()
    assert (user["id"], user["name"]) == (USER_IDS[caller], caller)


# Documents


@pytest.mark.parametrize(
    ("creator", "readers"),
    [
        ("stranger", {"stranger", "admin"}),
        ("editor", {"editor", "admin"}),
        ("admin", {"admin"}),
        (None, {"admin"}),
    ],
)
async def test_new_document_is_visible_to_its_creator_and_admins(
    client: AsyncClient, creator: str | None, readers: set[str]
) -> None:
    client.headers = bearer_headers(TOKENS[creator]) if creator else {}
    path = f"/documents/{(await make_document(client))['id']}"
    actual_readers = set()
    for caller in ("owner", "stranger", "editor", "admin"):
        response = await client.get(path, headers=bearer_headers(TOKENS[caller]))
        if response.status_code == 200:
            actual_readers.add(caller)
    assert actual_readers == readers


async def test_document_keeps_its_owner_when_an_admin_changes_it(client: AsyncClient) -> None:
    path = f"/documents/{DOCUMENT_ID}"
    form = {"name": (None, "Thesis, approved")}
    response = await client.patch(path, files=form, headers=bearer_headers(TOKENS["admin"]))
    assert response.status_code == 200
    response_to_owner = await client.get(path, headers=bearer_headers(TOKENS["owner"]))
    assert response_to_owner.json()["name"] == "Thesis, approved"


async def test_upload_of_another_user_returns_404_at_own_document(client: AsyncClient) -> None:
    client.headers = bearer_headers(TOKENS["stranger"])
    path = f"/documents/{(await make_document(client))['id']}/uploads/{UPLOAD_ID}"
    check_problem(await client.get(path), 404, "not-found")
    check_problem(await client.post(f"{path}/complete"), 404, "not-found")


# Roles


@pytest.mark.parametrize("caller", [None, "admin"])
@every_role
async def test_admin_or_anonymous_caller_with_full_access_can_register_user_with_role(
    client: AsyncClient, caller: str | None, role: str
) -> None:
    client.headers = bearer_headers(TOKENS[caller]) if caller else {}
    response = await client.post("/users", json=REGISTRATION | {"role": role})
    assert (response.status_code, response.json()["role"]) == (201, role)


@pytest.mark.parametrize("caller", [None, "admin"])
@every_role
async def test_admin_or_anonymous_caller_with_full_access_can_change_role(
    client: AsyncClient, caller: str | None, role: str
) -> None:
    client.headers = bearer_headers(TOKENS[caller]) if caller else {}
    response = await client.patch(f"/users/{USER_IDS['owner']}", json={"role": role})
    assert (response.status_code, response.json()["role"]) == (200, role)


@pytest.mark.parametrize("caller", ["owner", "editor"])
@every_role
async def test_setting_any_role_returns_403_unless_caller_is_admin(
    client: AsyncClient, database: Database, caller: str, role: str
) -> None:
    client.headers = bearer_headers(TOKENS[caller])
    before = await fetch_roles(database)
    for response in (
        await client.post("/users", json=REGISTRATION | {"role": role}),
        await client.patch(f"/users/{USER_IDS[caller]}", json={"role": role}),
    ):
        check_problem(response, 403, "forbidden")
        assert response.headers["www-authenticate"] == INSUFFICIENT_SCOPE_CHALLENGE
    assert await fetch_roles(database) == before


async def test_new_user_is_a_member(client: AsyncClient, app: FastAPI) -> None:
    for anonymous in ("none", "read", "full"):
        set_anonymous_access(app, anonymous)
        new_user = REGISTRATION | {"email": f"{anonymous}@example.com"}
        assert (await client.post("/users", json=new_user)).json()["role"] == "member"


async def test_new_role_applies_to_the_next_request(
    client: AsyncClient, database: Database
) -> None:
    author = {"name": "Virginia"}
    client.headers = bearer_headers(TOKENS["owner"])
    assert (await client.post("/authors", json=author)).status_code == 403
    promote = "UPDATE users SET role = 'editor' WHERE id = :id"
    await execute(database, promote, {"id": USER_IDS["owner"]})
    assert (await client.post("/authors", json=author)).status_code == 201


async def test_token_of_deleted_user_is_refused(client: AsyncClient, database: Database) -> None:
    await execute(database, "DELETE FROM users WHERE id = :id", {"id": USER_IDS["owner"]})
    check_problem(
        await client.get("/books", headers=bearer_headers(TOKENS["owner"])), 401, "unauthorized"
    )
