"""Fixtures of the command line's tests."""

import pytest


@pytest.fixture
def url(own_database: str) -> str:
    """Where the test's own database is: `other` connects to it."""
    return own_database
