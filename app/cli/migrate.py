"""The command `migrate`."""

from typing import Annotated

import typer

from app.cli import runtime


def migrate(
    revision: Annotated[
        str, typer.Argument(help="The revision to upgrade to, such as 0005.")
    ] = "head",
) -> None:
    """Upgrade the database schema to the newest revision, or to REVISION."""
    settings = runtime.load_settings()
    with runtime.provide_database(settings) as database_settings:
        runtime.upgrade_schema(database_settings, revision)
        typer.echo(f"The schema is at {revision}.")
