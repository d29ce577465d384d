"""Valid requests of registered entities."""

from typing import Any

from httpx import AsyncClient

from tests.support.entities import referenced_cases
from tests.support.entity_case import EntityCase, Json
from tests.support.multipart import FORM_HEADERS, form_body, form_field
from tests.support.responses import get_json


def body_arguments(case: EntityCase, body: Json) -> dict[str, Any]:
    """Return the arguments of `client.request` that send a body as JSON or as a form."""
    if case.is_form:
        fields = [form_field(name, value) for name, value in body.items()]
        return {"content": form_body(*fields), "headers": FORM_HEADERS}
    return {"json": body}


async def valid_body(client: AsyncClient, case: EntityCase) -> Json:
    """Return a body that POST accepts. What it refers to is created unless it exists."""
    body = dict(case.create)
    for column, other in referenced_cases(case).items():
        if column in body:
            body[column] = await _existing_id(client, other)
    return body


async def _existing_id(client: AsyncClient, case: EntityCase) -> Any:
    page = await get_json(client, case.path)
    if page["items"]:
        return page["items"][0]["id"]
    return (await create_row(client, case))["id"]


async def create_row(client: AsyncClient, case: EntityCase) -> Json:
    """Create a row of an entity and return it."""
    body = await valid_body(client, case)
    response = await client.post(case.path, **body_arguments(case, body))
    assert response.status_code == 201, response.text
    row: Json = response.json()
    return row
