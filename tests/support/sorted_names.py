"""Names in the order of a list, and functions that insert names and read the order of a list."""

from typing import Any
from uuid import UUID

from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import get_json
from tests.support.rows import insert_rows

# In the order of lists. Texts that are equal without case and accents are sorted by code points.
ORDERED_NAMES = [
    "1984",
    "¿Dónde está?",
    "Ångström",
    "Ann",
    "Ann Marie",
    "anna",
    "Émile Zola",
    "Emilia",
    "Łem",
    "Lena",
    "O'Brien",
    "O\u2019Casey",
    "ØRSTED",
    "Straße",
    "strasse",
    "Zoe",
    "Zoé",
    "zoe",
    "Ёлка",
    "елка",
    "жук",
    "本",
]


async def insert_authors(database: Database, names: list[str]) -> None:
    """Insert authors with the ids 0, 1, 2 and so on."""
    rows: list[dict[str, Any]] = [
        {"id": UUID(int=number), "name": name} for number, name in enumerate(names)
    ]
    await insert_rows(database, "authors", rows)


async def read_names(client: AsyncClient, path: str, size: int) -> list[tuple[str, str]]:
    """Read a list by cursor, and return the id and the name or title of all items."""
    items: list[tuple[str, str]] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        cursor = f"&cursor={page['next']}" if page["next"] else ""
        page = await get_json(client, f"{path}&size={size}{cursor}")
        items += [(item["id"], item.get("name") or item["title"]) for item in page["items"]]
    return items
