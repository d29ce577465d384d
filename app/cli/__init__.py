"""The command line: python -m app serve, migrate, users, jobs, seed, import and more."""

import signal
from typing import NoReturn

import typer

from app import worker
from app.cli import accounts, data, jobs, serving

cli = typer.Typer(
    help="Bookshelf: authors, books, documents and users over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serving.serve, serving.migrate, serving.worker, data.seed, serving.openapi):
    cli.command()(command)
for name, group in {
    "users": accounts.users,
    "tokens": accounts.tokens,
    "jobs": jobs.group,
    "import": data.imports,
    "export": data.exports,
}.items():
    cli.add_typer(group, name=name)


def main() -> None:
    """Run a command. A SIGTERM or the end of the terminal ends it like Ctrl-C."""
    for number in worker.STOPS:
        signal.signal(number, _leave)
    cli()


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
