"""The command `migrate`."""

from typing import Annotated

import typer

from app.cli import runtime
from app.tables import REQUIRED_REVISIONS

# Stands for the newest revision that servers of this release require. The revisions after it remove
# what only the previous release uses.
EXPAND = "expand"


def migrate(
    revision: Annotated[
        str,
        typer.Argument(
            help="The revision to upgrade to, such as 0005, or `expand` for the newest one with"
            " which servers of the previous release can run."
        ),
    ] = "head",
) -> None:
    """Upgrade the database schema to the newest revision, or to REVISION.

    A schema that is already newer is not changed.
    """
    if revision == EXPAND:
        revision = REQUIRED_REVISIONS[-1]
    settings = runtime.load_settings()
    with runtime.provide_database(settings) as database_settings:
        typer.echo(runtime.upgrade_schema(database_settings, revision))
