"""Swagger UI in a real browser: log in and send a request."""

import json
from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.support.chromium import CHROMIUM, open_page
from tests.support.processes import running_server

USER = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
# CSS selectors of the operation `GET /users/me` and of the response to it.
OPERATION = "#operations-users-read_current_user"
RESPONSE = f"{OPERATION} .live-responses-table tbody"
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
            await page.click(f"{OPERATION} .opblock-summary-control")
            await page.click(f"{OPERATION} button.execute")
            assert (await page.text(f"{RESPONSE} .response-col_status")).strip().startswith("401")
            await page.click(f"{OPERATION} .btn-clear")

            await page.click(".auth-wrapper > .btn.authorize")
            await page.type("#oauth_username", USER["email"])
            await page.type("#oauth_password", USER["password"])
            await page.click(".modal-ux .auth-btn-wrapper .btn.authorize")
            assert await page.text(".modal-ux h6") == "Authorized"
            await page.click(".modal-ux .btn-done")

            await page.click(f"{OPERATION} button.execute")
            assert (await page.text(f"{RESPONSE} .response-col_status")).strip().startswith("200")
            user = json.loads(await page.text(f"{RESPONSE} .highlight-code code"))
            assert (user["email"], user["role"]) == ("ada@example.com", "member")
            assert await page.evaluate(URLS_OF_OTHER_ORIGINS) == []
