"""The command line, `python -m app COMMAND`. `python -m app --help` lists the commands."""

import signal
from typing import NoReturn

import typer

from app import TITLE
from app.cli import (
    accounts,
    documents,
    export_books,
    import_books,
    jobs,
    migrate,
    openapi,
    serve,
    worker,
)
from app.worker import STOP_SIGNALS

cli = typer.Typer(
    help=f"{TITLE}: an HTTP API for authors, books, documents and users.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve.serve, migrate.migrate, worker.worker, import_books.seed, openapi.openapi):
    cli.command()(command)
cli.add_typer(accounts.users, name="users")
cli.add_typer(accounts.tokens, name="tokens")
cli.add_typer(documents.group, name="documents")
cli.add_typer(jobs.group, name="jobs")
cli.add_typer(import_books.group, name="import")
cli.add_typer(export_books.group, name="export")


def main() -> None:
    """Run the command that the arguments of the process name.

    The stop signals (Ctrl-C, SIGTERM, a closed terminal) raise `SystemExit`, so that a command can
    stop the servers that it has started.
    """
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, _exit_after_signal)
    cli()


def _exit_after_signal(signal_number: int, _frame: object) -> NoReturn:
    """Exit with the code that shells expect: 130 after SIGINT, 143 after SIGTERM."""
    raise SystemExit(128 + signal_number)
