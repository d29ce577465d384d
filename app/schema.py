"""Runs Alembic migrations from Python."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import URL

DEFAULT_LOCK_TIMEOUT_SECONDS: Final = 600.0
# The directory that contains the packages `app` and `migrations`.
PROJECT_ROOT: Final = Path(__file__).parents[1]


class SchemaIsNewer(CommandError):
    """The database is at a revision that only a newer release of the service has."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The schema is at revision {revision}, which this release does not know, because a"
            " newer release has upgraded it. Nothing was changed."
        )


def alembic_config(
    url: URL | None = None, lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
) -> Config:
    """Return the configuration of Alembic, to migrate the database with this URL.

    Without a URL, Alembic migrates the database of the settings.
    """
    attributes = {"url": url, "lock_timeout_seconds": lock_timeout_seconds}
    # A checkout contains `alembic.ini`, whose other options apply only to new revisions. An
    # installed package does not contain it.
    config = Config(PROJECT_ROOT / "alembic.ini", attributes=attributes)
    # A percent sign in the path would begin an interpolation.
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations").replace("%", "%%"))
    return config


def upgrade(
    url: URL,
    revision: str = "head",
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS,
    *,
    change_feed: bool = True,
) -> str:
    """Apply the missing migrations to a database, up to a revision such as "0005".

    Then enable or disable the triggers of the change feed, according to the setting CHANGE_FEED.
    A schema that is already newer is not changed. Returns a sentence about the revision of the
    schema, for example "The schema is at head."

    Must be called outside of an event loop, because Alembic's script starts one.
    """
    config = alembic_config(url, lock_timeout_seconds)
    config.attributes["change_feed"] = change_feed
    try:
        command.upgrade(config, revision)
    except SchemaIsNewer as error:
        return str(error)
    if revision == "head":
        return "The schema is at head."
    # The schema may have been at a newer revision before, and `revision` may be relative: "+1".
    return f"The schema is at {config.attributes['revision']}."
