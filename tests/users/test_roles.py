"""Roles of users: who may set them, and when a change takes effect."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from tests.support.accounts import add_token, add_user, bearer_headers, fetch_value
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import get_resources, replace_resources

NEW_USER = {"name": "Bob", "email": "bob@example.com", "password": "correct horse"}
ROLES = ["member", "editor", "admin"]
SELECT_ROLE = "SELECT role FROM users WHERE id = :id"


@pytest.fixture
def read_only_without_token(app: FastAPI) -> None:
    """Let callers without a token only read."""
    replace_resources(
        app, settings=get_resources(app).settings.model_copy(update={"anonymous_access": "read"})
    )


async def test_new_user_is_a_member(client: AsyncClient, read_only_without_token: None) -> None:
    response = await client.post("/users", json=NEW_USER)
    assert (response.status_code, response.json()["role"]) == (201, "member")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("caller_role", [None, "member", "editor"])
async def test_create_with_any_role_returns_403_unless_caller_is_admin(
    client: AsyncClient,
    database: Database,
    read_only_without_token: None,
    caller_role: str | None,
    role: str,
) -> None:
    headers = {}
    if caller_role:
        headers = bearer_headers(
            await add_token(database, await add_user(database, role=caller_role))
        )
    response = await client.post("/users", json=NEW_USER | {"role": role}, headers=headers)
    check_problem(response, 403, "forbidden")
    assert await fetch_value(database, "SELECT count(*) FROM users WHERE name = 'Bob'") == 0


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("caller_role", ["member", "editor"])
async def test_update_with_any_role_returns_403_unless_caller_is_admin(
    client: AsyncClient, database: Database, caller_role: str, role: str
) -> None:
    user = await add_user(database, role=caller_role)
    headers = bearer_headers(await add_token(database, user))
    body = {"name": "Countess", "role": role}
    check_problem(
        await client.patch(f"/users/{user}", json=body, headers=headers), 403, "forbidden"
    )
    # The response does not reveal whether another user exists.
    bob = await add_user(database, "bob@example.com")
    for path in (f"/users/{bob}", "/users/1000000000"):
        response = await client.patch(path, json={"role": role}, headers=headers)
        check_problem(response, 403, "forbidden")
    assert await fetch_value(database, "SELECT array_agg(role ORDER BY id) FROM users") == [
        caller_role,
        "member",
    ]
    assert await fetch_value(database, "SELECT bool_and(version = 1) FROM users")


async def test_update_with_role_returns_401_without_token(
    client: AsyncClient, database: Database, read_only_without_token: None
) -> None:
    user = await add_user(database)
    response = await client.patch(f"/users/{user}", json={"role": "admin"})
    check_problem(response, 401, "unauthorized")
    assert await fetch_value(database, SELECT_ROLE, id=user) == "member"


@pytest.mark.parametrize("role", ROLES)
async def test_admin_can_set_roles_of_new_and_existing_users(
    client: AsyncClient, database: Database, role: str
) -> None:
    headers = bearer_headers(await add_token(database, await add_user(database, role="admin")))
    response = await client.post("/users", json=NEW_USER | {"role": role}, headers=headers)
    assert (response.status_code, response.json()["role"]) == (201, role)
    path = response.headers["location"]
    for new_role in ROLES:
        response = await client.patch(path, json={"role": new_role}, headers=headers)
        assert (response.status_code, response.json()["role"]) == (200, new_role)
        assert (await client.get(path, headers=headers)).json() == response.json()


async def test_new_role_applies_to_the_next_request_of_an_existing_token(
    client: AsyncClient, database: Database
) -> None:
    admin_headers = bearer_headers(
        await add_token(database, await add_user(database, role="admin"))
    )
    user = await add_user(database, "bob@example.com")
    user_headers = bearer_headers(await add_token(database, user))
    for role, status in (("member", 403), ("admin", 200), ("editor", 403)):
        change = await client.patch(f"/users/{user}", json={"role": role}, headers=admin_headers)
        assert change.status_code == 200
        assert (await client.get("/users", headers=user_headers)).status_code == status


@pytest.mark.parametrize("invalid_role", ["root", "Admin", "", None, 1, ["admin"]])
async def test_invalid_role_returns_422(
    client: AsyncClient, database: Database, invalid_role: object
) -> None:
    user = await add_user(database)
    for response in (
        await client.post("/users", json=NEW_USER | {"role": invalid_role}),
        await client.patch(f"/users/{user}", json={"role": invalid_role}),
    ):
        assert field_error_locations(response) == [{"pointer": "/role"}]
