"""Accounts and their tokens, put straight into the database: how they got there does not matter."""

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
from tests.conftest import make_settings
from tests.support.resources import get_resources, replace_resources
from tests.support.statements import wait_for_statement_callbacks

EMAIL: Final = "ada@example.com"
PASSWORD: Final = "correct horse"
WRONG_PASSWORD: Final = "a wrong password"
# Of PASSWORD, with the service's parameters and with weaker ones: to make one takes 20 ms.
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
    """The first value of the first row; `None` when there is no row."""
    rows = await database.writes.execute(text(query), parameters)
    await wait_for_statement_callbacks()
    return next(iter(rows[0].values())) if rows else None


async def add_user(
    database: Database,
    email: str = EMAIL,
    *,
    role: str = "member",
    password_hash: str = PASSWORD_HASH,
) -> int:
    """The id of a new user whose password is PASSWORD."""
    given = {"email": email, "role": role, "hash": password_hash}
    rows = await database.writes.execute(_ADD_USER, given)
    await wait_for_statement_callbacks()
    made: int = rows[0]["id"]
    return made


async def add_token(database: Database, user_id: int, *, used: bool = False) -> str:
    """A new token of a user, which works for a day; the first use of one is noted."""
    token = secret.generate_token()
    given = {"id": uuid4(), "user_id": user_id, "digest": secret.token_digest(token), "used": used}
    await database.writes.execute(_ADD_TOKEN, given)
    await wait_for_statement_callbacks()
    return token


def bearer_headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def log_in(
    client: AsyncClient, username: str = EMAIL, password: str = PASSWORD, **more: str
) -> Response:
    return await client.post("/tokens", data={"username": username, "password": password, **more})


async def is_token_accepted(client: AsyncClient, token: str) -> bool:
    """Whether a token lets its bearer in; either way the service says so as it should."""
    answer = await client.get("/users/me", headers=bearer_headers(token))
    assert answer.status_code in {200, 401}, answer.text
    return answer.status_code == 200


def sql_commands(statements: list[str]) -> list[str]:
    """What was done in the database."""
    return [each.split()[0] for each in statements]


@asynccontextmanager
async def client_at_address(app: FastAPI, address: str) -> AsyncIterator[AsyncClient]:
    """A client at an address of the internet."""
    transport = ASGITransport(app, raise_app_exceptions=False, client=(address, 50000))
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@asynccontextmanager
async def client_of_new_instance(url: str, **changes: object) -> AsyncIterator[AsyncClient]:
    """The service as one more process has it: with all others it shares nothing but a database."""
    settings = make_settings(url, **changes)
    app = create_app(settings)
    replace_resources(app, database=Database(settings), password_hasher=PasswordHasher())
    transport = ASGITransport(app, raise_app_exceptions=False)

    async def settled(_: Response) -> None:
        await get_resources(app).database.wait_for_callbacks()

    async with AsyncClient(transport=transport, base_url="http://test") as client:
        client.event_hooks = {"response": [settled]}
        yield client
    get_resources(app).password_hasher.close()
    await get_resources(app).database.close()
