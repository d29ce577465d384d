"""Fixtures of the command line's tests."""

import pytest


@pytest.fixture
def database_url(private_database_url: str) -> str:
    """Where the test's own database is: `other` connects to it."""
    return private_database_url
