"""Alembic from Python: how to get a database to the schema that this code needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL


def config(url: URL | None = None) -> Config:
    """Alembic's configuration; without a URL the migrations ask the settings for it."""
    return Config(Path(__file__).parents[1] / "alembic.ini", attributes={"url": url})


def upgrade(url: URL, revision: str = "head") -> None:
    """Run the missing revisions. Not to be called on an event loop: it runs one of its own."""
    command.upgrade(config(url), revision)
