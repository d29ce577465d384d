"""Swagger UI in a real browser, as somebody who tries the service there."""

import json
from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.support.chromium import CHROMIUM, open_page
from tests.support.processes import running_server

ADA = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
ME = "#operations-users-read_current_user"
ANSWER = f"{ME} .live-responses-table tbody"
FOREIGN = """
performance.getEntriesByType('resource').map(each => each.name)
  .filter(name => !name.startsWith(location.origin) && !name.startsWith('data:'))
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


async def test_one_can_authorize_and_then_call_what_is_protected(
    private_database_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": private_database_url, "ANONYMOUS_ACCESS": "read"}
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
        assert (await client.post("/users", json=ADA)).status_code == 201
        async with open_page(f"{origin}/docs", tmp_path) as page:
            await page.click(f"{ME} .opblock-summary-control")
            await page.click(f"{ME} button.execute")
            assert (await page.text(f"{ANSWER} .response-col_status")).strip().startswith("401")
            await page.click(f"{ME} .btn-clear")

            await page.click(".auth-wrapper > .btn.authorize")
            await page.type("#oauth_username", ADA["email"])
            await page.type("#oauth_password", ADA["password"])
            await page.click(".modal-ux .auth-btn-wrapper .btn.authorize")
            assert await page.text(".modal-ux h6") == "Authorized"
            await page.click(".modal-ux .btn-done")

            await page.click(f"{ME} button.execute")
            assert (await page.text(f"{ANSWER} .response-col_status")).strip().startswith("200")
            shown = json.loads(await page.text(f"{ANSWER} .highlight-code code"))
            assert (shown["email"], shown["role"]) == ("ada@example.com", "member")
            assert await page.evaluate(FOREIGN) == []
