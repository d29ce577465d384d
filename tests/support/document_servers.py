"""A server for client programs, which requires a token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from httpx import AsyncClient

from tests.support import servers
from tests.support.processes import running_server


@asynccontextmanager
async def running_documents_server(page_origin: str, template_url: str) -> AsyncIterator[str]:
    """Start a server with its own database, and yield its origin."""
    environment = {
        "ANONYMOUS_ACCESS": "read",
        "CORS_ORIGINS": page_origin,
        "MAX_UPLOAD_SIZE": "24MiB",
        # The test does not read the log of the process, so its lines must not fill the pipe.
        "LOG_LEVEL": "WARNING",
    }
    async with (
        servers.open_copy(template_url) as database_url,
        running_server(DATABASE_URL=database_url, **environment) as (_, origin),
    ):
        yield origin


async def create_token(origin: str) -> str:
    """Register a user, and return a token of the user."""
    email = f"{uuid4()}@example.com"
    user = {"name": "Ada", "email": email, "password": "nanosecond wire"}
    async with AsyncClient(base_url=origin, trust_env=False) as client:
        (await client.post("/users", json=user)).raise_for_status()
        login = {"username": email, "password": user["password"]}
        response = await client.post("/tokens", data=login)
    token: str = response.json()["access_token"]
    return token
