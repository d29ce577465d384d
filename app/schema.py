"""Runs Alembic migrations from Python."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL


def alembic_config(url: URL | None = None) -> Config:
    """Return the configuration of Alembic for a database.

    Without a URL, the migrations use the database of the settings.
    """
    return Config(Path(__file__).parents[1] / "alembic.ini", attributes={"url": url})


def upgrade(url: URL, revision: str = "head") -> None:
    """Apply the missing migrations, up to a revision such as "0005".

    Call it outside of an event loop, because the migrations run one themselves.
    """
    command.upgrade(alembic_config(url), revision)
