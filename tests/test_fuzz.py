"""Schemathesis sends valid and invalid requests, and checks the responses with every check.

`make fuzz` does the same for longer.
"""

import tempfile

import pytest

from tests.fuzz.service import fuzz

pytestmark = pytest.mark.slow

# The same few requests in each run.
OPTIONS = ("--seed=1", "--max-examples=1")


async def test_service_responds_as_openapi_document_says(private_database_url: str) -> None:
    with tempfile.TemporaryFile() as output:
        exit_code = await fuzz(private_database_url, "admin", *OPTIONS, output=output)
        output.seek(0)
        assert exit_code == 0, output.read().decode()
