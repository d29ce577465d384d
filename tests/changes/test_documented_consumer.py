"""The program in the API guide keeps copies that are equal to what the lists contain."""

from collections.abc import AsyncIterator
from typing import Any

from httpx import AsyncClient

from app.core.db import Database
from tests.support.change_feed import AGE_CHANGES, sweep
from tests.support.documentation import read_code
from tests.support.factories import Json, make_author, make_book
from tests.support.processes import PROJECT_ROOT
from tests.support.rows import execute

API_GUIDE = PROJECT_ROOT / "docs" / "api.md"


def load_consumer() -> Any:
    """Return the generator of the program in the API guide."""
    names: dict[str, Any] = {}
    code = read_code(API_GUIDE, "Change feed", "python")
    end = code.rindex("yield cursor\n") + len("yield cursor\n")
    exec(code[:end], names)
    return names["follow"]


async def list_resources(client: AsyncClient) -> Json:
    """Return all authors and books by their ids."""
    pages = [(await client.get(f"/{entity}?size=100")).json() for entity in ("authors", "books")]
    return {item["id"]: item for page in pages for item in page["items"]}


async def test_consumer_follows_writes_and_starts_again_after_expiry(
    client: AsyncClient, database: Database
) -> None:
    author = await make_author(client)
    book = await make_book(client, author_id=author["id"])
    copies: Json = {}
    steps: AsyncIterator[str] = load_consumer()(client, copies, None)
    cursor = await anext(steps)
    assert copies == await list_resources(client)

    await client.patch(f"/books/{book['id']}", json={"title": "Changed"})
    await make_author(client)
    await anext(steps)
    assert copies == await list_resources(client)
    await client.delete(f"/books/{book['id']}")
    await anext(steps)
    assert copies == await list_resources(client)

    await execute(database, AGE_CHANGES)
    await sweep(database)
    resumed = load_consumer()(client, copies, cursor)
    await anext(resumed)
    assert copies == await list_resources(client)
    assert len(copies) == 2
