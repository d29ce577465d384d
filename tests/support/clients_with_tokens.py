"""Users with tokens, and clients that send such a token with each request."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from tests.support.accounts import add_token, add_user, bearer_headers
from tests.support.app_clients import open_client

# Takes the role of a new user, and returns a client with a token of the user.
ClientFactory = Callable[..., Awaitable[AsyncClient]]


class UserWithToken(NamedTuple):
    """A user, a token of the user, and the request headers that contain the token."""

    user_id: int
    token: str
    headers: dict[str, str]


async def create_user_with_token(
    database: Database, role: str = "member", user_id: int | None = None
) -> UserWithToken:
    """Create a token for the user `user_id`, or for a new user with a role."""
    if user_id is None:
        user_id = await add_user(database, f"{uuid4()}@example.com", role=role)
    token = await add_token(database, user_id, used=True)
    return UserWithToken(user_id, token, bearer_headers(token))


@asynccontextmanager
async def client_factory(app: FastAPI, database: Database) -> AsyncIterator[ClientFactory]:
    """Yield a function that creates a user with a role and returns a client with a token of it.

    The clients are closed when the block ends.
    """
    async with AsyncExitStack() as stack:

        async def client_with_role(role: str = "member") -> AsyncClient:
            user = await create_user_with_token(database, role)
            return await stack.enter_async_context(open_client(app, headers=user.headers))

        yield client_with_role


async def current_user_path(client: AsyncClient) -> str:
    """Return the path of the user whose token a client sends, for example `/users/7`."""
    response = await client.get("/users/me")
    return f"/users/{response.json()['id']}"
