"""A page of another origin in a real browser, which reads the errors of the service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.support import servers
from tests.support.chromium import CHROMIUM, Page, open_page
from tests.support.factories import Json
from tests.support.processes import running_server

# A script that sends a request and returns what the page can read of the response. The placeholder
# is the arguments of `fetch`. The promise is rejected if the browser hides the response.
READ_RESPONSE = """
fetch(%s).then(async response => ({
  status: response.status,
  requestId: response.headers.get('X-Request-ID'),
  retryAfter: response.headers.get('Retry-After'),
  etag: response.headers.get('ETag'),
  location: response.headers.get('Location'),
  body: await response.json(),
}))
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
async def database_url(template_url: str) -> AsyncIterator[str]:
    async with servers.open_copy(template_url) as url:
        yield url


@pytest.fixture(scope="module")
async def service_origin(database_url: str, page_origin: str) -> AsyncIterator[str]:
    """The origin of a server that the page may use. Its statements wait a short time for locks."""
    environment = {
        "DATABASE_URL": database_url,
        "CORS_ORIGINS": page_origin,
        "ANONYMOUS_ACCESS": "full",
        "DB_STATEMENT_TIMEOUT": "1",
    }
    async with running_server(**environment) as (_, origin):
        yield origin


@pytest.fixture(scope="module")
async def page(page_origin: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """A page whose origin may use the service."""
    profile: Path = tmp_path_factory.mktemp("browser")
    async with open_page(page_origin, profile) as page:
        yield page


async def send_json(page: Page, method: str, url: str, body: Json, **headers: str) -> Any:
    """Send a request with a JSON body and further headers, and return what the page can read."""
    options = {
        "method": method,
        "headers": {"Content-Type": "application/json", **headers},
        "body": json.dumps(body),
    }
    return await page.evaluate(READ_RESPONSE % f"{json.dumps(url)}, {json.dumps(options)}")


async def test_page_changes_a_resource_with_conditions_and_keys(
    page: Page, service_origin: str
) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    created = await send_json(page, "POST", f"{service_origin}/authors", {"name": "Ada"}, **key)
    assert (created["status"], created["etag"]) == (201, '"1"')
    url = service_origin + created["location"]
    condition = {"If-Match": created["etag"]}
    changed = await send_json(page, "PATCH", url, {"name": "Grace"}, **condition)
    assert (changed["status"], changed["etag"]) == (200, '"2"')


async def test_page_reads_the_problem_of_a_body_that_is_too_large(
    page: Page, service_origin: str
) -> None:
    body = {"name": "x" * 16 * 1024 * 1024}
    response = await send_json(page, "POST", f"{service_origin}/authors", body)
    assert response["status"] == 413
    assert response["requestId"] == response["body"]["request_id"]


async def test_page_reads_the_problem_of_a_url_that_is_too_long(
    page: Page, service_origin: str
) -> None:
    url = f"'{service_origin}/books?q=' + 'x'.repeat(9000)"
    response = await page.evaluate(READ_RESPONSE % url)
    assert response["status"] == 414
    assert response["requestId"] == response["body"]["request_id"]


async def test_page_reads_when_to_retry_after_a_503(
    page: Page, service_origin: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
        response = await page.evaluate(READ_RESPONSE % f"'{service_origin}/books'")
    await connection.close()
    assert (response["status"], response["retryAfter"]) == (503, "1")
    assert response["requestId"] == response["body"]["request_id"]


async def test_page_reads_the_request_id_of_a_500(
    page: Page, service_origin: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE authors RENAME TO former_authors")
    response = await page.evaluate(READ_RESPONSE % f"'{service_origin}/authors'")
    await connection.execute("ALTER TABLE former_authors RENAME TO authors")
    await connection.close()
    assert response["status"] == 500
    assert response["requestId"] == response["body"]["request_id"]


async def test_page_of_another_origin_reads_nothing(
    service_origin: str, page_origin: str, tmp_path: Path
) -> None:
    other_origin = page_origin.replace("127.0.0.1", "localhost")
    async with open_page(other_origin, tmp_path) as page:
        read = f"fetch('{service_origin}/livez').then(() => 'read', error => error.name)"
        assert await page.evaluate(read) == "TypeError"
