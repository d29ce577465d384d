"""Uses Swagger UI, the documentation page, in a browser."""

import json

from tests.support.chromium import Page
from tests.support.factories import Json

# CSS selectors of the operation `GET /users/me` and of the response to it.
_OPERATION = "#operations-users-read_current_user"
_RESPONSE = f"{_OPERATION} .live-responses-table tbody"


async def log_in(page: Page, user: Json) -> None:
    """Log in as a registered user."""
    await page.click(".auth-wrapper > .btn.authorize")
    await page.type("#oauth_username", user["email"])
    await page.type("#oauth_password", user["password"])
    await page.click(".modal-ux .auth-btn-wrapper .btn.authorize")
    assert await page.text(".modal-ux h6") == "Authorized"
    await page.click(".modal-ux .btn-done")


async def open_operation(page: Page) -> None:
    """Open the operation `GET /users/me`."""
    await page.click(f"{_OPERATION} .opblock-summary-control")


async def execute_operation(page: Page) -> tuple[int, Json]:
    """Send the request of the operation. Return the status and the JSON body of the response.

    The response is then removed from the page.
    """
    await page.click(f"{_OPERATION} button.execute")
    status = int((await page.text(f"{_RESPONSE} .response-col_status")).split()[0])
    body: Json = json.loads(await page.text(f"{_RESPONSE} .highlight-code code"))
    await page.click(f"{_OPERATION} .btn-clear")
    return status, body
