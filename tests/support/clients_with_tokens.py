"""Callers with tokens of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app.core.db import Database
from tests.support.accounts import add_token, add_user, bearer

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
    owner = user_id or await add_user(database, f"{uuid4()}@example.com", role=role)
    token = await add_token(database, owner, used=True)
    return Bearer(owner, token, bearer(token))


@asynccontextmanager
async def actors(app: FastAPI, database: Database) -> AsyncIterator[Acting]:
    """Makes clients, each with a token of a new user of the role that it is asked for."""
    async with AsyncExitStack() as stack:

        async def acting(role: str = "member") -> AsyncClient:
            headers = (await make_bearer(database, role)).headers
            transport = ASGITransport(app, raise_app_exceptions=False)
            client = AsyncClient(transport=transport, base_url="http://test", headers=headers)
            return await stack.enter_async_context(client)

        yield acting


async def path_of(client: AsyncClient) -> str:
    """Where the user is whose token a client has."""
    return f"/users/{(await client.get('/users/me')).json()['id']}"
