"""Builds valid requests for the entities that the generic tests cover."""

from typing import Any

from httpx import AsyncClient

from tests.support.entities import referenced_cases
from tests.support.entity_case import EntityCase
from tests.support.factories import Json
from tests.support.multipart import FORM_HEADERS, form_body, form_field
from tests.support.responses import get_json


def body_arguments(case: EntityCase, body: Json) -> dict[str, Any]:
    """Return the arguments with which `client.request` sends a body as JSON or as a form."""
    if case.is_form:
        fields = [form_field(name, value) for name, value in body.items()]
        return {"content": form_body(*fields), "headers": FORM_HEADERS}
    return {"json": body}


async def valid_body(client: AsyncClient, case: EntityCase) -> Json:
    """Return a body that POST accepts. The rows that it refers to are created if necessary."""
    body = dict(case.create)
    for column, referenced_case in referenced_cases(case).items():
        if column in body:
            body[column] = await _get_or_create_id(client, referenced_case)
    return body


async def _get_or_create_id(client: AsyncClient, case: EntityCase) -> Any:
    """Return the id of the first row of an entity, which is created if there is none."""
    page = await get_json(client, case.path)
    if page["items"]:
        return page["items"][0]["id"]
    row = await create_row(client, case)
    return row["id"]


async def create_row(client: AsyncClient, case: EntityCase) -> Json:
    """Create a row of an entity with a POST request and return it."""
    body = await valid_body(client, case)
    response = await client.post(case.path, **body_arguments(case, body))
    assert response.status_code == 201, response.text
    row: Json = response.json()
    return row
