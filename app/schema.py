"""Runs Alembic migrations from Python."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL


def alembic_config(url: URL | None = None) -> Config:
    """Return the configuration of Alembic, to migrate the database with this URL.

    Without a URL, Alembic migrates the database of the settings.
    """
    return Config(Path(__file__).parents[1] / "alembic.ini", attributes={"url": url})


def upgrade(url: URL, revision: str = "head") -> None:
    """Apply the missing migrations to a database, up to a revision such as "0005".

    Must be called outside of an event loop, because Alembic's script starts one.
    """
    command.upgrade(alembic_config(url), revision)
