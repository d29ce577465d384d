"""Creates authors, books, users and documents with requests to the API."""

from typing import Any

from httpx import AsyncClient

Json = dict[str, Any]


async def make_author(
    client: AsyncClient, name: str = "Ursula K. Le Guin", **other_fields: Any
) -> Json:
    """Create an author and return it."""
    return await _create(client, "/authors", {"name": name, **other_fields})


async def make_book(
    client: AsyncClient, title: str = "The Dispossessed", author_id: str | None = None
) -> Json:
    """Create a book and return it. Without `author_id` a new author is created for it."""
    if author_id is None:
        author = await make_author(client)
        author_id = author["id"]
    return await _create(client, "/books", {"title": title, "author_id": author_id})


async def make_user(
    client: AsyncClient, email: str = "ada@example.com", **other_fields: Any
) -> Json:
    """Create a user with the password "correct horse" and return the user."""
    body = {"name": "Ada Lovelace", "email": email, "password": "correct horse", **other_fields}
    return await _create(client, "/users", body)


async def make_document(
    client: AsyncClient,
    name: str = "Thesis",
    content: bytes | None = None,
    *,
    filename: str = "thesis.pdf",
    content_type: str = "application/pdf",
) -> Json:
    """Create a document and return it. It has a file unless the content is empty or None."""
    files: dict[str, tuple[Any, ...]] = {"file": (None, "")}
    if content:
        files = {"file": (filename, content, content_type)}
    response = await client.post("/documents", data={"name": name}, files=files)
    assert response.status_code == 201, response.text
    document: Json = response.json()
    return document


async def make_direct_upload(
    client: AsyncClient, path: str, content: bytes, **other_fields: Any
) -> str:
    """Upload a file to the object store with presigned URLs, without completing the upload.

    `path` is the path of the document. Returns the path of the upload, for example
    `/documents/{id}/uploads/{upload_id}`.
    """
    file = {
        "filename": "a.pdf",
        "content_type": "application/pdf",
        "size": len(content),
        **other_fields,
    }
    upload = await _create(client, f"{path}/uploads", file)
    async with AsyncClient() as store_client:
        response = await store_client.put(upload["parts"][0]["url"], content=content)
    response.raise_for_status()
    return f"{path}/uploads/{upload['id']}"


async def _create(client: AsyncClient, path: str, body: Json) -> Json:
    """Send a POST request, check that the status is 201, and return the JSON of the response."""
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
    resource: Json = response.json()
    return resource
