"""What the OpenAPI document allows, and what it does not, sent by schemathesis with every check."""

import tempfile

from tests.fuzz.service import fuzz

SMALL = ("--seed=1", "--max-examples=1")  # as `make fuzz`, but the same requests each time


async def test_the_service_does_what_its_document_says(private_database_url: str) -> None:
    with tempfile.TemporaryFile() as output:
        code = await fuzz(private_database_url, "admin", *SMALL, output=output)
        output.seek(0)
        assert code == 0, output.read().decode()
