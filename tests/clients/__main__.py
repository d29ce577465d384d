"""Generate clients from `openapi.json`, compile them, and run a scenario with each.

The generators, their commands and examples are the sections of docs/clients.md. Each has an adapter
of the same name in `adapters`, which runs the scenario with the client. Run it with `make clients`.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import httpx

from tests.clients.generated_clients import CommandFailed, GeneratedClient, find_clients
from tests.support.processes import run_command, running_server

# The examples of the document use, and delete, the first user and the first book.
FIRST_EMAIL = "first@example.com"
EMAIL = "admin@example.com"
PASSWORD = "correct horse"


@asynccontextmanager
async def running_service() -> AsyncIterator[str]:
    """Start a service with books and two administrators. Yield its origin."""
    with TemporaryDirectory() as data_directory:
        environment = {"DATA_DIR": data_directory, "ANONYMOUS_ACCESS": "read"}
        async with running_server("--migrate", **environment) as (_, origin):
            create_admin = ("users", "create-admin")
            for command in (("seed",), (*create_admin, FIRST_EMAIL), (*create_admin, EMAIL)):
                result = await run_command(*command, input=f"{PASSWORD}\n".encode(), **environment)
                assert result.exit_code == 0, result.stderr
            yield origin


def check_client(client: GeneratedClient, origin: str) -> bool:
    """Generate, compile and use a client. Print the steps. Return whether all of them succeeded."""
    print(f"{client.name + ':':<27}", end="", flush=True)
    try:
        client.generate(origin)
        print(" generated", end="", flush=True)
        client.compile()
        print(", compiled", end="", flush=True)
        client.use(origin, EMAIL, PASSWORD)
    except CommandFailed as error:
        print(f", FAILED\n{error}")
        return False
    print(", scenario passed")
    return True


async def create_token(origin: str) -> str:
    """Log in as an administrator, and return an access token."""
    form = {"username": EMAIL, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=origin, trust_env=False) as client:
        response = await client.post("/tokens", data=form)
    token: str = response.json()["access_token"]
    return token


async def main(names: list[str]) -> bool:
    """Check the clients with these names, or all clients. Return whether all of them succeeded."""
    clients = [client for client in find_clients() if not names or client.name in names]
    assert clients, names
    async with running_service() as origin:
        # The examples of the page read this variable.
        os.environ["BOOKSHELF_TOKEN"] = await create_token(origin)
        results = [check_client(client, origin) for client in clients]
    return all(results)


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(sys.argv[1:])))
