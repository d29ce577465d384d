"""Forms in the framing of clients that are not installed where the tests run."""

from hashlib import sha256

import pytest
from httpx import AsyncClient

from tests.support.client_forms import CONTENT, FORMS, ClientForm


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_form_of_client_creates_document(client: AsyncClient, form: ClientForm) -> None:
    response = await client.post("/documents", content=form.body, headers=form.headers)
    assert response.status_code == 201, response.text
    document = response.json()
    assert (document["name"], document["filename"]) == (form.name, form.filename)
    assert document["content_type"] == form.content_type
    assert document["sha256"] == sha256(CONTENT).hexdigest()
