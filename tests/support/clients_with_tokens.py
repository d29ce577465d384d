"""Callers with tokens of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app.core.db import Database
from tests.support.accounts import add_token, add_user, bearer_headers

ClientFactory = Callable[..., Awaitable[AsyncClient]]


class UserWithToken(NamedTuple):
    """A user's id, and the token as it is and as a request has it."""

    user_id: int
    token: str
    headers: dict[str, str]


async def create_user_with_token(
    database: Database, role: str = "member", user_id: int | None = None
) -> UserWithToken:
    """A token of a user that there is, or of a new one with this role."""
    owner = user_id or await add_user(database, f"{uuid4()}@example.com", role=role)
    token = await add_token(database, owner, used=True)
    return UserWithToken(owner, token, bearer_headers(token))


@asynccontextmanager
async def client_factory(app: FastAPI, database: Database) -> AsyncIterator[ClientFactory]:
    """Makes clients, each with a token of a new user of the role that it is asked for."""
    async with AsyncExitStack() as stack:

        async def acting(role: str = "member") -> AsyncClient:
            headers = (await create_user_with_token(database, role)).headers
            transport = ASGITransport(app, raise_app_exceptions=False)
            client = AsyncClient(transport=transport, base_url="http://test", headers=headers)
            return await stack.enter_async_context(client)

        yield acting


async def current_user_path(client: AsyncClient) -> str:
    """Where the user is whose token a client has."""
    return f"/users/{(await client.get('/users/me')).json()['id']}"
