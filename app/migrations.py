"""Alembic from Python: bring a database to the schema of this code."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL

ROOT = Path(__file__).parents[1]


def config(url: URL | None = None) -> Config:
    """Alembic's configuration; without a URL it can only read the revisions."""
    found = Config(ROOT / "alembic.ini")
    found.attributes["url"] = url
    return found


def head() -> str:
    """The newest revision that came with this code."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def upgrade(url: URL, revision: str = "head") -> None:
    """Run the missing revisions. Not to be called on an event loop: it runs one of its own."""
    command.upgrade(config(url), revision)
