"""What is one's own: the lists that have nothing else, whose a new document is, and one's role."""

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

every_person = pytest.mark.parametrize("person", ["owner", "stranger", "editor", "admin"])
every_role = pytest.mark.parametrize("role", ["member", "editor", "admin"])


@pytest.fixture(autouse=True)
async def people(database: Database) -> None:
    await add_callers(database)
    await add_resources(database, "owner")


async def roles(database: Database) -> list[str]:
    """Everybody's, and so how many there are."""
    return await select_values(database, "SELECT role FROM users ORDER BY id")


# Lists


@pytest.mark.parametrize(
    ("person", "total"), [("owner", 1), ("stranger", 0), ("editor", 0), ("admin", 2)]
)
@pytest.mark.parametrize("path", ["/documents", "/documents?q=thesis&sort=-size"])
async def test_a_list_of_documents_has_ones_own_and_an_admins_has_all(
    client: AsyncClient, path: str, person: str, total: int
) -> None:
    await make_document(client, "Thesis of nobody")
    page = (await client.get(path, headers=bearer_headers(TOKENS[person]))).json()
    assert (len(page["items"]), page["total"]) == (total, total)


async def test_without_a_token_a_list_of_documents_has_all_where_that_may_everything(
    client: AsyncClient,
) -> None:
    await make_document(client, "Thesis of nobody")
    assert (await client.get("/documents")).json()["total"] == 2


async def test_a_cursor_leads_through_ones_own_documents_only(
    client: AsyncClient, database: Database
) -> None:
    for person in ("owner", "stranger"):
        client.headers = bearer_headers(TOKENS[person])
        for name in ("a", "b", "c"):
            await make_document(client, name)
    found = list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page: Json = (await client.get(f"/documents?sort=name&size=1{cursor}")).json()
        found += [document["name"] for document in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert found == ["a", "b", "c"]


async def test_a_cursor_of_somebody_elses_list_is_refused(client: AsyncClient) -> None:
    await make_document(client)
    page = (await client.get("/documents?size=1", headers=bearer_headers(TOKENS["admin"]))).json()
    response = await client.get(
        f"/documents?size=1&cursor={page['next']}", headers=bearer_headers(TOKENS["owner"])
    )
    check_problem(response, 422, "invalid-request")


@every_person
async def test_a_list_of_tokens_has_ones_own_even_for_an_admin(
    client: AsyncClient, person: str
) -> None:
    page = (await client.get("/tokens", headers=bearer_headers(TOKENS[person]))).json()
    own = {str(TOKEN_IDS[name]) for name, whose in TOKEN_OWNERS.items() if whose == person}
    assert {token["id"] for token in page["items"]} == own
    assert page["total"] == len(own)


@every_person
async def test_who_asks_who_he_is_is_told(client: AsyncClient, person: str) -> None:
    user = (await client.get("/users/me", headers=bearer_headers(TOKENS[person]))).json()
    assert (user["id"], user["name"]) == (USER_IDS[person], person)


# Documents


@pytest.mark.parametrize(
    ("maker", "readers"),
    [
        ("stranger", {"stranger", "admin"}),
        ("editor", {"editor", "admin"}),
        ("admin", {"admin"}),
        (None, {"admin"}),
    ],
)
async def test_a_new_document_is_its_makers_and_without_one_an_admins(
    client: AsyncClient, maker: str | None, readers: set[str]
) -> None:
    client.headers = bearer_headers(TOKENS[maker]) if maker else {}
    path = f"/documents/{(await make_document(client))['id']}"
    found = {
        person
        for person in ("owner", "stranger", "editor", "admin")
        if (await client.get(path, headers=bearer_headers(TOKENS[person]))).status_code == 200
    }
    assert found == readers


async def test_a_document_stays_its_owners_when_an_admin_changes_it(client: AsyncClient) -> None:
    path, change = f"/documents/{DOCUMENT_ID}", {"name": (None, "Thesis, approved")}
    changed = await client.patch(path, files=change, headers=bearer_headers(TOKENS["admin"]))
    assert changed.status_code == 200
    read = await client.get(path, headers=bearer_headers(TOKENS["owner"]))
    assert read.json()["name"] == "Thesis, approved"


async def test_somebody_elses_upload_is_not_found_at_ones_own_document_either(
    client: AsyncClient,
) -> None:
    client.headers = bearer_headers(TOKENS["stranger"])
    path = f"/documents/{(await make_document(client))['id']}/uploads/{UPLOAD_ID}"
    check_problem(await client.get(path), 404, "not-found")
    check_problem(await client.post(f"{path}/complete"), 404, "not-found")


# Roles


@pytest.mark.parametrize("person", [None, "admin"])
@every_role
async def test_who_may_everything_registers_a_user_with_a_role(
    client: AsyncClient, person: str | None, role: str
) -> None:
    client.headers = bearer_headers(TOKENS[person]) if person else {}
    response = await client.post("/users", json=REGISTRATION | {"role": role})
    assert (response.status_code, response.json()["role"]) == (201, role)


@pytest.mark.parametrize("person", [None, "admin"])
@every_role
async def test_who_may_everything_changes_a_role(
    client: AsyncClient, person: str | None, role: str
) -> None:
    client.headers = bearer_headers(TOKENS[person]) if person else {}
    response = await client.patch(f"/users/{USER_IDS['owner']}", json={"role": role})
    assert (response.status_code, response.json()["role"]) == (200, role)


@pytest.mark.parametrize("person", ["owner", "editor"])
@every_role
async def test_who_is_no_admin_sets_no_role_not_even_the_one_he_has(
    client: AsyncClient, database: Database, person: str, role: str
) -> None:
    client.headers = bearer_headers(TOKENS[person])
    before = await roles(database)
    for response in (
        await client.post("/users", json=REGISTRATION | {"role": role}),
        await client.patch(f"/users/{USER_IDS[person]}", json={"role": role}),
    ):
        check_problem(response, 403, "forbidden")
        assert response.headers["www-authenticate"] == INSUFFICIENT_SCOPE_CHALLENGE
    assert await roles(database) == before


async def test_whoever_registers_is_a_member(client: AsyncClient, app: FastAPI) -> None:
    for anonymous in ("none", "read", "full"):
        set_anonymous_access(app, anonymous)
        person = REGISTRATION | {"email": f"{anonymous}@example.com"}
        assert (await client.post("/users", json=person)).json()["role"] == "member"


async def test_another_role_holds_from_the_next_request(
    client: AsyncClient, database: Database
) -> None:
    author, client.headers = {"name": "Virginia"}, bearer_headers(TOKENS["owner"])
    assert (await client.post("/authors", json=author)).status_code == 403
    promoted = "UPDATE users SET role = 'editor' WHERE id = :id"
    await execute(database, promoted, {"id": USER_IDS["owner"]})
    assert (await client.post("/authors", json=author)).status_code == 201


async def test_the_token_of_a_deleted_user_works_no_more(
    client: AsyncClient, database: Database
) -> None:
    await execute(database, "DELETE FROM users WHERE id = :id", {"id": USER_IDS["owner"]})
    check_problem(
        await client.get("/books", headers=bearer_headers(TOKENS["owner"])), 401, "unauthorized"
    )
