"""Tests that no output of any command contains the password of the database."""

import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import cli
from tests.support import commands, processes
from tests.support.metrics import find_free_port
from tests.support.processes import running_server, spawn_command, wait_for_result
from tests.support.secret_urls import AMBIGUOUS_URLS, CANARY, UNREACHABLE_URL

# These commands handle signals, and do not end if the database is unreachable.
ENDLESS_COMMANDS = {("serve",), ("worker",)}
# Values of arguments with which a command gets as far as to read the settings.
ARGUMENTS = {"file": "-", "job_name": "count-users", "role": "member", "revision": "head"}
EMAIL = "ada@example.com"
PASSWORD_LINE = b"correct horse\n"
URL_WITH_AT_SIGN = AMBIGUOUS_URLS[0]


def list_commands() -> Iterator[tuple[str, ...]]:
    """Return the words of every command, for example `("jobs", "run")`."""
    group = get_command(cli)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            for subcommand_name in command.commands:
                yield name, subcommand_name
        else:
            yield (name,)


def add_arguments(words: tuple[str, ...]) -> list[str]:
    """Return the words of a command and a value for each of its required arguments."""
    command = get_command(cli)
    for word in words:
        assert isinstance(command, TyperGroup)
        command = command.commands[word]
    values = [
        ARGUMENTS.get(parameter.name or "", EMAIL)
        for parameter in command.params
        if parameter.required and parameter.param_type_name == "argument"
    ]
    format_options = ["--format", "csv"] if words == ("import", "books") else []
    return [*words, *format_options, *values]


async def invoke(words: tuple[str, ...], **environment: str) -> tuple[int | None, str]:
    """Invoke a command. Return its exit code, and its output and errors as one text."""
    result = await commands.invoke_command(
        *add_arguments(words), input=PASSWORD_LINE, **environment
    )
    return result.exit_code, result.stdout + result.stderr


@pytest.mark.parametrize("words", sorted(list_commands()), ids=" ".join)
async def test_command_rejects_ambiguous_database_url_without_repeating_it(
    words: tuple[str, ...],
) -> None:
    environment = {"DATABASE_URL": URL_WITH_AT_SIGN, "REPORTING_DATABASE_URL": URL_WITH_AT_SIGN}
    if words in ENDLESS_COMMANDS:
        code, output = await processes.exit_code_and_output(*words, **environment)
    else:
        code, output = await invoke(words, **environment)
    assert code == 1
    assert "\nDATABASE_URL: Must be a URL such as" in output
    assert "\nREPORTING_DATABASE_URL: Must be a URL such as" in output
    assert CANARY not in output


@pytest.mark.parametrize("words", sorted({*list_commands()} - ENDLESS_COMMANDS), ids=" ".join)
async def test_command_does_not_print_password_if_database_is_unreachable(
    words: tuple[str, ...],
) -> None:
    code, output = await invoke(words, DATABASE_URL=UNREACHABLE_URL)
    if words != ("openapi",):
        assert code == 1
        assert "127.0.0.1" in output
    assert CANARY not in output


async def test_server_does_not_show_password_if_database_is_unreachable() -> None:
    metrics_port = find_free_port()
    async with running_server(DATABASE_URL=UNREACHABLE_URL, METRICS_PORT=metrics_port) as (
        process,
        origin,
    ):
        async with httpx.AsyncClient() as client:
            texts = [
                (await client.get(url)).text
                for url in (
                    f"{origin}/readyz",
                    f"{origin}/books",
                    f"{origin}/openapi.json",
                    f"http://127.0.0.1:{metrics_port}/metrics",
                )
            ]
        assert "database: does not accept connections" in texts[0]
        arguments = psutil.Process(process.pid).cmdline()
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert "the database failed or is overloaded" in output.decode()
    assert CANARY not in f"{texts} {arguments} {output.decode()}"


@pytest.mark.parametrize("arguments", [("-m", "tools.psql"), ("-m", "alembic", "current")])
async def test_tool_rejects_ambiguous_database_url_without_repeating_it(
    arguments: tuple[str, ...],
) -> None:
    _, module, *words = arguments
    environment = {"DATABASE_URL": URL_WITH_AT_SIGN, "PYTHONSAFEPATH": "1"}
    if module == "alembic":
        words = ["-c", "../alembic.ini", *words]
    process = await spawn_command(*words, module=module, environment=environment)
    code, out, err = await wait_for_result(process)
    assert code != 0
    assert "DATABASE_URL: Must be a URL such as" in out + err
    assert "Traceback" not in out + err
    assert CANARY not in out + err


async def test_traceback_of_invalid_settings_does_not_contain_them() -> None:
    process = await spawn_command(
        "app.main:create_app",
        "--factory",
        module="uvicorn",
        environment={"DATABASE_URL": URL_WITH_AT_SIGN},
    )
    code, out, err = await wait_for_result(process)
    assert code != 0
    assert "InvalidSettings" in err
    assert CANARY not in out + err
