"""Users and tokens that are inserted into the database, and requests that use them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.main import create_app
from app.tokens import secret
from app.users.passwords import PasswordHasher
from tests.support.app_clients import open_client
from tests.support.resources import get_resources, replace_resources
from tests.support.settings import make_settings
from tests.support.statements import wait_for_statement_callbacks

EMAIL: Final = "ada@example.com"
PASSWORD: Final = "correct horse"
WRONG_PASSWORD: Final = "a wrong password"
# Argon2 hashes of PASSWORD, with the parameters of the service and with weaker ones. They are
# constants because computing one takes 20 ms.
PASSWORD_HASH: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$Ym9va3NoZWxmIHN1aXRlIQ"
    "$C+Cr8XkoPWvWFZiiHnclq9IK3bbNkRXyre0VMTc/Wrk"
)
WEAK_PASSWORD_HASH: Final = (
    "$argon2id$v=19$m=64,t=1,p=1$Ym9va3NoZWxmIHN1aXRlIQ$GLtlETvy7yLMWtHSavZOyuawX/RgkSAqJo1DDiDBVyY"
)
_ADD_USER: Final = text(
    "INSERT INTO users (name, email, role, password_hash) "
    "VALUES ('Ada Lovelace', :email, :role, :hash) RETURNING id"
)
_ADD_TOKEN: Final = text(
    "INSERT INTO tokens (id, user_id, name, digest, expires_at, last_used_at) "
    "VALUES (:id, :user_id, 'a token', :digest, now() + interval '1 day', "
    "CASE WHEN :used THEN now() END) RETURNING id"
)


async def fetch_value(database: Database, query: str, **parameters: Any) -> Any:
    """Return the first column of the first row of a query, or None if the query returns no rows."""
    rows = await database.writes.execute(text(query), parameters)
    await wait_for_statement_callbacks()
    if not rows:
        return None
    return next(iter(rows[0].values()))


async def add_user(
    database: Database,
    email: str = EMAIL,
    *,
    role: str = "member",
    password_hash: str = PASSWORD_HASH,
) -> int:
    """Insert a user whose password is PASSWORD, and return the id of the user."""
    parameters = {"email": email, "role": role, "hash": password_hash}
    rows = await database.writes.execute(_ADD_USER, parameters)
    await wait_for_statement_callbacks()
    user_id: int = rows[0]["id"]
    return user_id


async def add_token(database: Database, user_id: int, *, used: bool = False) -> str:
    """Insert a token of a user that expires in a day, and return the token.

    With `used` the token was used just now. The service stores the time of the first request with a
    token that was never used.
    """
    token = secret.generate_token()
    parameters = {
        "id": uuid4(),
        "user_id": user_id,
        "digest": secret.compute_token_digest(token),
        "used": used,
    }
    await database.writes.execute(_ADD_TOKEN, parameters)
    await wait_for_statement_callbacks()
    return token


def bearer_headers(token: str) -> dict[str, str]:
    """Return the headers of a request that is authenticated by a token."""
    return {"Authorization": f"Bearer {token}"}


async def log_in(
    client: AsyncClient, username: str = EMAIL, password: str = PASSWORD, **other_fields: str
) -> Response:
    """Request a token with the email address and password of a user."""
    form = {"username": username, "password": password, **other_fields}
    return await client.post("/tokens", data=form)


async def log_in_for_token(client: AsyncClient, **other_fields: str) -> str:
    """Log in as the user with EMAIL and PASSWORD, and return the new token."""
    response = await log_in(client, **other_fields)
    assert response.status_code == 201, response.text
    token: str = response.json()["access_token"]
    return token


async def change_user(
    client: AsyncClient, user_id: int, token: str | None, **changes: str
) -> Response:
    """Send a request that changes fields of a user. None as the token sends no token."""
    headers = {}
    if token is not None:
        headers = bearer_headers(token)
    return await client.patch(f"/users/{user_id}", json=changes, headers=headers)


async def is_token_accepted(client: AsyncClient, token: str) -> bool:
    """Return whether a request with a token succeeds. Otherwise its status must be 401."""
    response = await client.get("/users/me", headers=bearer_headers(token))
    assert response.status_code in {200, 401}, response.text
    return response.status_code == 200


def sql_commands(statements: list[str]) -> list[str]:
    """Return the first word of each statement: `["SELECT", "UPDATE"]`."""
    return [statement.split()[0] for statement in statements]


def client_at_address(app: FastAPI, address: str) -> AsyncClient:
    """Return a client of the application that connects from an IP address."""
    transport = ASGITransport(app, raise_app_exceptions=False, client=(address, 50000))
    return AsyncClient(transport=transport, base_url="http://test")


@asynccontextmanager
async def client_of_new_instance(url: str, **changes: object) -> AsyncIterator[AsyncClient]:
    """Yield a client of a new application, which shares only its database with other applications.

    It stands for another process of the service. `changes` are settings.
    """
    settings = make_settings(url, **changes)
    app = create_app(settings)
    replace_resources(app, database=Database(settings), password_hasher=PasswordHasher())

    async def wait_for_callbacks(_: Response) -> None:
        await get_resources(app).database.wait_for_callbacks()

    async with open_client(app) as client:
        client.event_hooks = {"response": [wait_for_callbacks]}
        yield client
    get_resources(app).password_hasher.close()
    await get_resources(app).database.close()
