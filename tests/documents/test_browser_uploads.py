"""Direct uploads of a page in a real browser, whose origin is not that of the store."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import AsyncClient

from app import embedded
from tests.support import servers
from tests.support.chromium import CHROMIUM, Page, open_page
from tests.support.factories import make_document
from tests.support.processes import running_server, store_environment

# A script that uploads a file in parts and reads it again at both of its URLs. The placeholder is
# the URL of a document. The browser sends a preflight request to the store.
UPLOAD_FILE = """
(async () => {
  const documentUrl = %s
  const post = async (url, body) => {
    const headers = { 'Content-Type': 'application/json' }
    const options = { method: 'POST', headers, body: JSON.stringify(body) }
    const response = await fetch(url, options)
    if (!response.ok) throw new Error(await response.text())
    return response.json()
  }
  const readText = async url => (await fetch(url)).text()

  const file = new File(['Frame '.repeat(200000)], 'film.mp4', { type: 'video/mp4' })
  const announcedFile = { filename: file.name, content_type: file.type, size: file.size }
  const upload = await post(`${documentUrl}/uploads`, announcedFile)
  let start = 0
  for (const part of upload.parts) {
    const body = file.slice(start, start + part.size)
    const response = await fetch(part.url, { method: 'PUT', body })
    if (!response.ok) throw new Error(await response.text())
    start += part.size
  }
  const document = await post(`${documentUrl}/uploads/${upload.id}/complete`)
  const content = await file.text()
  return {
    size: document.size,
    fileUrlHasContent: await readText(document.file_url) === content,
    contentUrlHasContent: await readText(`${documentUrl}/content`) === content,
  }
})()
"""
READ_STATUS = "fetch(%s).then(response => response.status)"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
async def page(page_origin: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    profile: Path = tmp_path_factory.mktemp("browser")
    async with open_page(page_origin, profile) as page:
        yield page


@pytest.fixture(scope="module")
async def service_origin(template_url: str, page_origin: str) -> AsyncIterator[str]:
    """The origin of a server that the page may use."""
    async with (
        servers.open_copy(template_url) as database_url,
        running_server(DATABASE_URL=database_url, CORS_ORIGINS=page_origin) as (_, origin),
    ):
        yield origin


async def test_page_uploads_parts_and_reads_the_file(page: Page, service_origin: str) -> None:
    async with AsyncClient(base_url=service_origin) as client:
        document = await make_document(client)
    document_url = f"{service_origin}/documents/{document['id']}"

    result = await page.evaluate(UPLOAD_FILE % json.dumps(document_url))

    assert result == {"size": 1_200_000, "fileUrlHasContent": True, "contentUrlHasContent": True}


@pytest.mark.parametrize("path", ["/", f"/{embedded.BUCKET}/", f"/{embedded.BUCKET}/name"])
async def test_page_reads_nothing_from_the_store_without_a_signature(page: Page, path: str) -> None:
    url = store_environment()["S3_ENDPOINT_URL"] + path
    status = await page.evaluate(READ_STATUS % json.dumps(url))
    assert status in {400, 403}
