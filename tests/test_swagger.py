"""Swagger UI in a real browser: log in and send a request."""

from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.support.chromium import CHROMIUM, open_page
from tests.support.processes import running_server
from tests.support.swagger import execute_operation, log_in, open_operation

USER = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
# A script that returns the URLs of files that the page loaded from other origins.
URLS_OF_OTHER_ORIGINS = """
performance.getEntriesByType('resource').map(resource => resource.name)
  .filter(url => !url.startsWith(location.origin) && !url.startsWith('data:'))
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


async def test_operation_that_requires_a_token_succeeds_after_login_in_swagger_ui(
    private_database_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": private_database_url, "ANONYMOUS_ACCESS": "read"}
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
        assert (await client.post("/users", json=USER)).status_code == 201
        async with open_page(f"{origin}/docs", tmp_path) as page:
            await open_operation(page)
            status, _ = await execute_operation(page)
            assert status == 401

            await log_in(page, USER)
            status, user = await execute_operation(page)
            assert status == 200
            assert (user["email"], user["role"]) == ("ada@example.com", "member")
            assert await page.evaluate(URLS_OF_OTHER_ORIGINS) == []
