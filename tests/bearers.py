"""Callers with tokens, written straight into the tables: to hash a password takes 30 ms."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from uuid_utils.compat import uuid7

from app.core.database import Database
from app.tokens import secret
from tests.rows import query

_USER = """
INSERT INTO users (name, email, role, password_hash)
VALUES ('Somebody', gen_random_uuid() || '@example.com', :role, 'x') RETURNING id
"""
# In use already: the first use of a token takes one statement more, to note it.
_TOKEN = """
INSERT INTO tokens (id, user_id, name, digest, expires_at, last_used_at)
VALUES (:id, :user_id, 'laptop', :digest, now() + interval '1 hour', now())
"""

Acting = Callable[..., Awaitable[AsyncClient]]


class Bearer(NamedTuple):
    """A user's id, and the token as it is and as a request has it."""

    id: int
    token: str
    headers: dict[str, str]


async def make_bearer(
    database: Database, role: str = "member", user_id: int | None = None
) -> Bearer:
    """A token of a user that there is, or of a new one with this role."""
    token = secret.new()
    if user_id is None:
        [user_id] = await query(database, _USER, role=role)
    digest = secret.digest(token)
    await query(database, f"{_TOKEN} RETURNING id", id=uuid7(), user_id=user_id, digest=digest)
    return Bearer(user_id, token, {"Authorization": f"Bearer {token}"})


@asynccontextmanager
async def actors(app: FastAPI, database: Database) -> AsyncIterator[Acting]:
    """Makes clients, each with a token of a new user of the role that it is asked for."""
    async with AsyncExitStack() as stack:

        async def acting(role: str = "member") -> AsyncClient:
            bearer = await make_bearer(database, role)
            transport = ASGITransport(app, raise_app_exceptions=False)
            client = AsyncClient(
                transport=transport, base_url="http://test", headers=bearer.headers
            )
            return await stack.enter_async_context(client)

        yield acting


async def path_of(client: AsyncClient) -> str:
    """Where the user is whose token a client has."""
    return f"/users/{(await client.get('/users/me')).json()['id']}"
