"""Roles: who may set them, and from when they hold."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from tests.support.accounts import add_token, add_user, bearer_headers, fetch_value
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import get_resources, replace_resources

NEW = {"name": "Bob", "email": "bob@example.com", "password": "correct horse"}
ROLES = ["member", "editor", "admin"]
ROLE = "SELECT role FROM users WHERE id = :id"


@pytest.fixture
def closed(app: FastAPI) -> None:
    """Without a token one may read only."""
    replace_resources(
        app, settings=get_resources(app).settings.model_copy(update={"anonymous_access": "read"})
    )


async def test_whoever_registers_is_a_member(client: AsyncClient, closed: None) -> None:
    response = await client.post("/users", json=NEW)
    assert (response.status_code, response.json()["role"]) == (201, "member")


@pytest.mark.parametrize("asked", ROLES)
@pytest.mark.parametrize("caller", [None, "member", "editor"])
async def test_nobody_but_an_admin_gives_a_new_user_a_role_not_even_the_one_that_all_have(
    client: AsyncClient, database: Database, closed: None, caller: str | None, asked: str
) -> None:
    headers = {}
    if caller:
        headers = bearer_headers(await add_token(database, await add_user(database, role=caller)))
    response = await client.post("/users", json=NEW | {"role": asked}, headers=headers)
    check_problem(response, 403, "forbidden")
    assert await fetch_value(database, "SELECT count(*) FROM users WHERE name = 'Bob'") == 0


@pytest.mark.parametrize("asked", ROLES)
@pytest.mark.parametrize("caller", ["member", "editor"])
async def test_nobody_but_an_admin_changes_a_role_not_even_to_what_it_is(
    client: AsyncClient, database: Database, caller: str, asked: str
) -> None:
    user = await add_user(database, role=caller)
    headers = bearer_headers(await add_token(database, user))
    body = {"name": "Countess", "role": asked}
    check_problem(
        await client.patch(f"/users/{user}", json=body, headers=headers), 403, "forbidden"
    )
    # Of others one does not learn whether they are there.
    bob = await add_user(database, "bob@example.com")
    for path in (f"/users/{bob}", "/users/1000000000"):
        response = await client.patch(path, json={"role": asked}, headers=headers)
        check_problem(response, 403, "forbidden")
    assert await fetch_value(database, "SELECT array_agg(role ORDER BY id) FROM users") == [
        caller,
        "member",
    ]
    assert await fetch_value(database, "SELECT bool_and(version = 1) FROM users")


async def test_without_a_token_nobody_changes_a_role(
    client: AsyncClient, database: Database, closed: None
) -> None:
    user = await add_user(database)
    response = await client.patch(f"/users/{user}", json={"role": "admin"})
    check_problem(response, 401, "unauthorized")
    assert await fetch_value(database, ROLE, id=user) == "member"


@pytest.mark.parametrize("role", ROLES)
async def test_an_admin_gives_roles_to_new_users_and_old_ones(
    client: AsyncClient, database: Database, role: str
) -> None:
    headers = bearer_headers(await add_token(database, await add_user(database, role="admin")))
    response = await client.post("/users", json=NEW | {"role": role}, headers=headers)
    assert (response.status_code, response.json()["role"]) == (201, role)
    path = response.headers["location"]
    for other in ROLES:
        response = await client.patch(path, json={"role": other}, headers=headers)
        assert (response.status_code, response.json()["role"]) == (200, other)
        assert (await client.get(path, headers=headers)).json() == response.json()


async def test_a_role_holds_from_the_next_request_of_a_token_that_there_is(
    client: AsyncClient, database: Database
) -> None:
    admin = bearer_headers(await add_token(database, await add_user(database, role="admin")))
    user = await add_user(database, "bob@example.com")
    theirs = bearer_headers(await add_token(database, user))
    for role, status in (("member", 403), ("admin", 200), ("editor", 403)):
        change = await client.patch(f"/users/{user}", json={"role": role}, headers=admin)
        assert change.status_code == 200
        assert (await client.get("/users", headers=theirs)).status_code == status


@pytest.mark.parametrize("wrong", ["root", "Admin", "", None, 1, ["admin"]])
async def test_what_is_no_role_is_refused(
    client: AsyncClient, database: Database, wrong: object
) -> None:
    user = await add_user(database)
    for response in (
        await client.post("/users", json=NEW | {"role": wrong}),
        await client.patch(f"/users/{user}", json={"role": wrong}),
    ):
        assert field_error_locations(response) == [{"pointer": "/role"}]
