"""Direct uploads with requests to the API and to the object store."""

from typing import Any

from httpx import AsyncClient, Response

from tests.support.factories import Json


async def create_upload(
    client: AsyncClient, document: Json, content: bytes, **more: Any
) -> Response:
    """Start a direct upload of a file for a document."""
    body = {"filename": "Äther.bin", "content_type": "text/html", "size": len(content), **more}
    return await client.post(f"/documents/{document['id']}/uploads", json=body)


async def send_parts(upload: Json, content: bytes) -> None:
    """Send all parts of an upload to the store, in reverse order."""
    end = len(content)
    async with AsyncClient() as store_client:
        for part in reversed(upload["parts"]):
            start = end - part["size"]
            part_content = content[start:end]
            end = start
            response = await store_client.put(part["url"], content=part_content)
            assert response.status_code == 200, response.text


async def complete_upload(client: AsyncClient, document: Json, upload: Json) -> Response:
    """Ask the service to make an uploaded file the file of its document."""
    return await client.post(f"/documents/{document['id']}/uploads/{upload['id']}/complete")
