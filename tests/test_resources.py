"""The resources of an application are closed, whatever fails before."""

from dataclasses import replace
from typing import Any

import pytest

from app.main import create_app
from tests.support.resources import get_resources
from tests.support.settings import make_settings


class CloseRecorder:
    """A resource that records its name when it is closed."""

    def __init__(self, name: str, closed_resources: list[str]) -> None:
        self._name = name
        self._closed_resources = closed_resources

    def close(self) -> None:
        self._closed_resources.append(self._name)


class FailingDatabase:
    """A database that cannot be closed."""

    async def close(self) -> None:
        raise OSError("database")


async def test_other_resources_are_closed_when_startup_and_closing_the_database_fail() -> None:
    app = create_app(make_settings("postgresql:///unused"))
    closed_resources: list[str] = []
    changes: dict[str, Any] = {
        "database": FailingDatabase(),
        "password_hasher": CloseRecorder("password_hasher", closed_resources),
        "storage": CloseRecorder("storage", closed_resources),
    }
    app.state.resources = replace(get_resources(app), **changes)
    with pytest.raises(OSError, match="database"):
        async with app.router.lifespan_context(app):
            raise RuntimeError("startup")
    assert closed_resources == ["password_hasher", "storage"]
