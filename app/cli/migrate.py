"""The command `migrate`."""

from typing import Annotated

import typer

from app.cli import runtime


def migrate(
    revision: Annotated[str, typer.Argument(help="The revision to upgrade to.")] = "head",
) -> None:
    """Bring the database's schema up to date."""
    settings = runtime.load_settings()
    with runtime.with_database(settings) as connected:
        runtime.upgrade_schema(connected, revision)
        typer.echo(f"The schema is at {revision}.")
