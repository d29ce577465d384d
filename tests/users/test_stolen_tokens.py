"""Someone with a stolen token attacks the account, on a real server."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from httpx import AsyncClient, Response

from tests.support.accounts import PASSWORD, bearer_headers, log_in
from tests.support.factories import Json
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, running_server

EMAIL = "victim@example.com"
NEW_EMAIL = "thief@example.com"
NEW_PASSWORD = "battery staple"
# The method, the path, and the arguments of `client.request`. `{id}` is the id of the victim.
ATTACKS: list[tuple[str, str, Json]] = [
    ("PATCH", "/users/{id}", {"json": {"email": NEW_EMAIL}}),
    ("PATCH", "/users/{id}/", {"json": {"email": EMAIL.upper()}}),
    ("PATCH", "/users/{id}", {"json": {"email": NEW_EMAIL, "current_password": "a guess"}}),
    ("PATCH", "/users/{id}", {"json": {"email": NEW_EMAIL, "current_password": None}}),
    ("PATCH", "/users/{id}", {"json": {"email": NEW_EMAIL, "current_password": ""}}),
    ("PATCH", "/users/{id}", {"json": {"password": NEW_PASSWORD}}),
    ("PATCH", "/users/{id}", {"json": {"password": PASSWORD}}),
    ("PATCH", "/users/{id}", {"json": {"password": NEW_PASSWORD, "password_hash": "x"}}),
    ("PATCH", "/users/me", {"json": {"email": NEW_EMAIL}}),
    ("PATCH", "/users/{id}", {"data": {"email": NEW_EMAIL}}),
    ("DELETE", "/users/{id}", {}),
    ("DELETE", "/users/{id}", {"headers": {"If-Match": "*"}}),
    ("DELETE", "/users/{id}", {"json": {"current_password": "a guess"}}),
    ("DELETE", "/users/{id}", {"json": None, "headers": {"Content-Length": "0"}}),
    ("DELETE", "/users/{id}", {"data": {"current_password": PASSWORD}}),
    ("DELETE", "/users/{id}?current_password=correct+horse", {}),
    ("POST", "/users/{id}", {"headers": {"X-HTTP-Method-Override": "DELETE"}}),
    ("POST", "/tokens", {"data": {"username": EMAIL, "password": ""}}),
    ("POST", "/tokens", {"data": {"grant_type": "refresh_token", "scope": "read write"}}),
]


@pytest.fixture
async def server(private_database_url: str) -> AsyncIterator[AsyncClient]:
    """A client of a new server process, at which the victim is registered."""
    environment = {"DATABASE_URL": private_database_url, "ANONYMOUS_ACCESS": "read"}
    async with (
        running_server(**environment) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        body = {"name": "Ada Lovelace", "email": EMAIL, "password": PASSWORD}
        assert (await client.post("/users", json=body)).status_code == 201
        yield client


async def steal_token(server: AsyncClient, **form: str) -> tuple[Json, dict[str, str]]:
    """Return the victim, and the headers of a request with a token of the victim."""
    response = await log_in(server, EMAIL, PASSWORD, **form)
    headers = bearer_headers(response.json()["access_token"])
    victim: Json = (await server.get("/users/me", headers=headers)).json()
    return victim, headers


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_stolen_token_cannot_take_over_or_delete_the_account(
    server: AsyncClient, private_database_url: str, role: str
) -> None:
    connection = await asyncpg.connect(private_database_url)
    # Another admin, so that the account of an admin is not kept because it is the last one.
    insert_admin = """
        INSERT INTO users (name, email, role, password_hash) VALUES ('a', 'a@x.org', 'admin', 'x')
    """
    await connection.execute(insert_admin)
    await connection.execute("UPDATE users SET role = $1 WHERE email = $2", role, EMAIL)
    await connection.close()
    victim, headers = await steal_token(server)
    for method, path, arguments in ATTACKS:
        all_headers = headers | arguments.get("headers", {})
        response = await server.request(
            method, path.format(id=victim["id"]), **{**arguments, "headers": all_headers}
        )
        assert response.status_code in {401, 405, 415, 422}, (method, path, response.text)
    login = await log_in(server, EMAIL, PASSWORD)
    assert login.status_code == 201
    new_headers = bearer_headers(login.json()["access_token"])
    assert (await server.get("/users/me", headers=new_headers)).json() == victim


async def test_stolen_read_token_changes_nothing_and_cannot_raise_its_scope(
    server: AsyncClient,
) -> None:
    victim, headers = await steal_token(server, scope="read")
    path = f"/users/{victim['id']}"
    credentials = {"current_password": PASSWORD}
    # Even someone who knows the password needs another token.
    responses = [
        await server.patch(path, json={"name": "x"}, headers=headers),
        await server.patch(path, json={"email": NEW_EMAIL, **credentials}, headers=headers),
        await server.request("DELETE", path, json=credentials, headers=headers),
        await server.post("/documents", files={"name": (None, "x")}, headers=headers),
        await server.post("/users", json={}, headers=headers),
        await server.post("/documents?scope=write", headers=headers),
    ]
    for response in responses:
        check_problem(response, 403, "forbidden")
        assert response.headers["www-authenticate"].endswith('scope="write"')
    response = await server.post("/tokens", data={"scope": "read write"}, headers=headers)
    check_problem(response, 422, "invalid-request")
    assert (await server.get(path, headers=headers)).json() == victim
    assert (await server.delete("/tokens/current", headers=headers)).status_code == 204
    check_problem(await server.get(path, headers=headers), 401, "unauthorized")


async def test_only_one_of_concurrent_changes_of_the_password_succeeds(server: AsyncClient) -> None:
    victim, headers = await steal_token(server)

    async def change_password(number: int) -> Response:
        body = {"password": f"new passphrase {number}", "current_password": PASSWORD}
        return await server.patch(f"/users/{victim['id']}", json=body, headers=headers)

    responses = await asyncio.gather(*(change_password(number) for number in range(8)))
    statuses = [response.status_code for response in responses]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 422, 429}
    winner = statuses.index(200)
    assert (await log_in(server, EMAIL, f"new passphrase {winner}")).status_code == 201
    user = (await server.get("/users/me", headers=headers)).json()
    assert user["version"] == "2"
