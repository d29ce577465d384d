"""Things that tests need to exist, made the way a client makes them."""

from typing import Any

from httpx import AsyncClient

Json = dict[str, Any]


async def make_author(client: AsyncClient, name: str = "Ursula K. Le Guin", **more: Any) -> Json:
    return await _create(client, "/authors", {"name": name, **more})


async def make_book(
    client: AsyncClient, title: str = "The Dispossessed", author_id: str | None = None
) -> Json:
    author_id = author_id or (await make_author(client))["id"]
    return await _create(client, "/books", {"title": title, "author_id": author_id})


async def make_user(client: AsyncClient, email: str = "ada@example.com", **more: Any) -> Json:
    body = {"name": "Ada Lovelace", "email": email, "password": "correct horse", **more}
    return await _create(client, "/users", body)


async def make_document(
    client: AsyncClient, name: str = "Thesis", content: bytes | None = None, **file: str
) -> Json:
    """A document, with a file when there is content for one."""
    kind = file.get("content_type", "application/pdf")
    files = {"file": (file.get("filename", "thesis.pdf"), content, kind)} if content else None
    answer = await client.post(
        "/documents", data={"name": name}, files=files or {"file": (None, "")}
    )
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def make_direct_upload(client: AsyncClient, path: str, content: bytes) -> str:
    """The path of an upload for the document at `path`, whose bytes have all arrived."""
    announced = {"filename": "a.pdf", "content_type": "application/pdf", "size": len(content)}
    upload = await _create(client, f"{path}/uploads", announced)
    async with AsyncClient() as browser:
        (await browser.put(upload["parts"][0]["url"], content=content)).raise_for_status()
    return f"{path}/uploads/{upload['id']}"


async def _create(client: AsyncClient, path: str, body: Json) -> Json:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made
