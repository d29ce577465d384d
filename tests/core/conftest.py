"""Fixtures for the tests of app.core."""

import json

import pytest
from fastapi import FastAPI

from tests.support.factories import Json


@pytest.fixture(scope="session")
def document(application: FastAPI) -> Json:
    """The OpenAPI document of the service. Tests must not change it."""
    document: Json = json.loads(json.dumps(application.openapi()))
    return document
