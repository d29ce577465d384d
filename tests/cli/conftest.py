"""Fixtures for the tests of the command line."""

import pytest


@pytest.fixture
def database_url(private_database_url: str) -> str:
    """The URL of a database of the test, to which `outside_connection` also connects."""
    return private_database_url
