"""What is in the store, and what the database knows of it."""

import asyncpg

from app.core.storage import Storage


async def list_object_states(
    storage: Storage, prefix: str, database: asyncpg.Connection
) -> list[str]:
    """For each key under a prefix what there is: the state of its row, `object`, `part`."""
    rows = await database.fetch("SELECT key, state FROM stored_objects")
    uploads = await storage.list_multipart_uploads(prefix)
    keys = [key async for page in storage.list_keys(prefix) for key in page]
    there = [(row["key"], row["state"]) for row in rows]
    there += [(key, "object") for key in keys] + [(key, "part") for key, *_ in uploads]
    words: dict[str, list[str]] = {}
    for key, word in there:
        words.setdefault(key, []).append(word)
    return sorted(" ".join(of_key) for of_key in words.values())
