"""Compares the object store with the rows that describe stored objects."""

from collections import defaultdict

import asyncpg

from app.core.storage import Storage


async def list_object_states(
    storage: Storage, prefix: str, connection: asyncpg.Connection
) -> list[str]:
    """Return one string for each key under a prefix, which says where the key exists.

    The words are the state of its row in `stored_objects`, "object" if the store has the object,
    and "part" for a multipart upload that is not complete. Examples: "ready object",
    "pending part", "object" (no row).
    """
    words = defaultdict[str, list[str]](list)
    for row in await connection.fetch("SELECT key, state FROM stored_objects"):
        words[row["key"]].append(row["state"])
    async for page in storage.list_keys(prefix):
        for key in page:
            words[key].append("object")
    async for uploads in storage.list_multipart_uploads(prefix):
        for upload in uploads:
            words[upload.key].append("part")
    return sorted(" ".join(words_of_key) for words_of_key in words.values())
