"""The resources of an application are closed, however its lifespan ends."""

from dataclasses import replace
from typing import Any

import pytest

from app.main import create_app
from tests.conftest import make_settings
from tests.support.resources import get_resources


class Closing:
    """A resource that notes that it has been closed."""

    def __init__(self, closed: list[str]) -> None:
        self._closed = closed

    def close(self) -> None:
        self._closed.append("other")


class FailingDatabase:
    """A database that cannot be closed."""

    async def close(self) -> None:
        raise OSError("database")


async def test_resources_are_closed_when_lifespan_fails_and_when_the_database_does() -> None:
    app = create_app(make_settings("postgresql:///unused"))
    closed: list[str] = []
    changes: dict[str, Any] = {
        "database": FailingDatabase(),
        "password_hasher": Closing(closed),
        "storage": Closing(closed),
    }
    app.state.resources = replace(get_resources(app), **changes)
    with pytest.raises(OSError, match="database"):
        async with app.router.lifespan_context(app):
            raise RuntimeError("startup")
    assert closed == ["other", "other"]
