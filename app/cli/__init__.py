"""The command line: python -m app serve, migrate, users, jobs, seed, import and more."""

import signal
from typing import NoReturn

import typer

from app import TITLE
from app.cli import accounts, export_books, import_books, jobs, migrate, openapi, serve, worker
from app.worker import STOP_SIGNALS

cli = typer.Typer(
    help=f"{TITLE}: authors, books, documents and users over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve.serve, migrate.migrate, worker.worker, import_books.seed, openapi.openapi):
    cli.command()(command)
cli.add_typer(accounts.users, name="users")
cli.add_typer(accounts.tokens, name="tokens")
cli.add_typer(jobs.group, name="jobs")
cli.add_typer(import_books.group, name="import")
cli.add_typer(export_books.group, name="export")


def main() -> None:
    """Run a command. A SIGTERM or the end of the terminal ends it like Ctrl-C."""
    for number in STOP_SIGNALS:
        signal.signal(number, _exit)
    cli()


def _exit(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
