"""Compares the object store with the rows that describe stored objects."""

from collections import defaultdict

import asyncpg

from app.core.storage import MultipartUpload, Storage


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
    for key in await list_keys(storage, prefix):
        words[key].append("object")
    for upload in await list_multipart_uploads(storage, prefix):
        words[upload.key].append("part")
    return sorted(" ".join(words_of_key) for words_of_key in words.values())


async def list_keys(storage: Storage, prefix: str) -> list[str]:
    """Return the keys of all objects in the store under a prefix."""
    return [key async for page in storage.list_keys(prefix) for key in page]


async def list_multipart_uploads(storage: Storage, prefix: str) -> list[MultipartUpload]:
    """Return all multipart uploads in the store under a prefix."""
    return [upload async for page in storage.list_multipart_uploads(prefix) for upload in page]
