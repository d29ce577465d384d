"""Uses Swagger UI, the documentation page, in a browser."""

import json

from tests.support.chromium import Page
from tests.support.factories import Json


async def log_in(page: Page, operation: str, user: Json) -> None:
    """Log in as a registered user, with the form that opens at the padlock of an operation."""
    await page.click(f"{operation} .authorization__btn")
    await submit_login(page, user)
    assert await page.text(".login [role=status]") == f"Logged in as {user['email']}"
    await page.click(".login .btn-done")


async def submit_login(page: Page, user: Json) -> None:
    """Fill in and submit the login form, which is open."""
    await page.type(".login [name=username]", user["email"])
    await page.type(".login [name=password]", user["password"])
    await page.click(".login [type=submit]")


async def open_operation(page: Page, operation_id: str) -> str:
    """Open an operation, for example `users-read_current_user`. Return its CSS selector."""
    operation = f"#operations-{operation_id}"
    await page.click(f"{operation} .opblock-summary-control")
    # It is complete when the page has resolved the references of the document.
    await page.text(f"{operation} .responses-table")
    return operation


async def execute_operation(page: Page, operation: str) -> tuple[int, Json]:
    """Send the request of an open operation. Return the status and the body of the response.

    The response is then removed from the page.
    """
    await page.click(f"{operation} button.execute")
    response = f"{operation} .live-responses-table tbody"
    status = int((await page.text(f"{response} .response-col_status")).split()[0])
    body: Json = json.loads(await page.text(f"{response} .highlight-code code"))
    await page.click(f"{operation} .btn-clear")
    return status, body


async def read_padlock(page: Page, operation: str) -> str:
    """Return the state of the padlock of an operation: "Locked" or "Unlocked"."""
    padlock = f"document.querySelector({operation!r} + ' .authorization__btn')"
    label: str = await page.evaluate(f"{padlock}.getAttribute('aria-label')")
    return label.partition(":")[0]
