"""Swagger UI in a real browser: log in, create a document with a file, and see an error."""

from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.support.chromium import CHROMIUM, Page, open_page
from tests.support.processes import running_server
from tests.support.swagger import (
    execute_operation,
    log_in,
    open_operation,
    read_padlock,
    submit_login,
)

USER = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
# A script that returns the URLs of files that the page loaded from other origins.
URLS_OF_OTHER_ORIGINS = """
performance.getEntriesByType('resource').map(resource => resource.name)
  .filter(url => !url.startsWith(location.origin) && !url.startsWith('data:'))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


async def test_user_logs_in_uploads_a_file_and_sees_an_error_in_swagger_ui(
    private_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"text")
    environment = {"DATABASE_URL": private_database_url, "ANONYMOUS_ACCESS": "read"}
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
        assert (await client.post("/users", json=USER)).status_code == 201
        async with open_page(f"{origin}/docs", tmp_path / "profile") as page:
            operation = await open_operation(page, "users-read_current_user")
            assert (await execute_operation(page, operation))[0] == 401
            assert await read_padlock(page, operation) == "Locked"
            assert await read_padlock(page, "#operations-authors-list_authors") == "Unlocked"

            await page.click(".auth-wrapper > .btn.authorize")
            await submit_login(page, {**USER, "password": "wrong"})
            alert = await page.text(".login [role=alert]")
            assert alert == "The login failed: Wrong email or password"
            await page.click(".login .btn-done")

            await log_in(page, operation, USER)
            assert await page.text(".auth-wrapper > .btn.authorize") == "Logged in"
            status, user = await execute_operation(page, operation)
            assert (status, user["email"], user["role"]) == (200, USER["email"], "member")
            for unlocked in (operation, "#operations-authors-update_author"):
                assert await read_padlock(page, unlocked) == "Unlocked"

            operation = await open_operation(page, "documents-create_document")
            await page.choose_file(f"{operation} input[type=file]", file)
            status, document = await execute_operation(page, operation)
            assert (status, document["filename"], document["size"]) == (201, "a.txt", 4)

            operation = await open_operation(page, "authors-update_author")
            status, problem = await execute_operation(page, operation)
            assert (status, problem["title"]) == (403, "Forbidden")
            await check_operation_is_readable(page, operation)
            assert await page.evaluate(URLS_OF_OTHER_ORIGINS) == []


async def check_operation_is_readable(page: Page, operation: str) -> None:
    """Check that an open operation is short, and that its optional headers are empty."""
    element = f"document.querySelector({operation!r})"
    assert await page.evaluate(f"{element}.offsetHeight") < 1000
    assert await page.evaluate(f"{element}.querySelector('.error-responses').open") is False
    text = await page.text(operation)
    assert "Headers: X-Request-ID" in text
    # Regular expressions contain it.
    assert "^" not in text
    headers = f"{element}.querySelectorAll('[data-param-in=header] input')"
    assert await page.evaluate(f"Array.from({headers}, input => input.value)") == ["", ""]
