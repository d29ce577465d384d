"""Tests of the output of commands: help, the OpenAPI document, jobs and progress bars."""

import asyncio
import json
import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from httpx import AsyncClient
from typer.main import get_command
from typer.testing import CliRunner

from app.cli import cli
from app.worker import JOBS
from tests.support import processes
from tests.support.commands import exit_code_and_output, invoke_command
from tests.support.processes import spawn_command, wait_for_result

OVERDUE = "bookshelf: jobs are overdue: {}; check that a worker is running\n"
COMMANDS = {
    "serve",
    "migrate",
    "seed",
    "import",
    "export",
    "documents",
    "jobs",
    "worker",
    "openapi",
    "users",
    "tokens",
}


def find_commands(group: object, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group, for example `("jobs", "run")`."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from find_commands(command, *path, name)


COMMAND_WORDS = list(find_commands(get_command(cli)))


def test_command_line_has_these_commands() -> None:
    assert {words[0] for words in COMMAND_WORDS if words} == COMMANDS


@pytest.mark.parametrize("words", COMMAND_WORDS, ids=" ".join)
def test_every_command_has_a_help_text(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    usage, _, description = result.stdout.strip().partition("\n")
    assert re.search(" ".join(words), usage)
    assert re.search(r"[A-Z][a-z]+ .*[.:]", description)


async def test_openapi_prints_the_document_that_the_service_returns(
    client: AsyncClient, tmp_path: Path
) -> None:
    code, out, err = await processes.run_command("openapi", DATA_DIR=str(tmp_path / "data"))
    assert (code, err) == (0, "")
    assert json.loads(out) == (await client.get("/openapi.json")).json()
    assert list(tmp_path.iterdir()) == []


def embedded_store_settings(directory: Path) -> dict[str, str]:
    """Return the settings with which a command starts an object store if it needs one."""
    return {"S3_ENDPOINT_URL": "", "S3_BUCKET": "", "DATA_DIR": str(directory / "data")}


async def test_jobs_list_shows_the_last_run_of_each_job(database_url: str) -> None:
    code, before, err = await invoke_command("jobs", "list", DATABASE_URL=database_url)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in before.splitlines()] == [job.name for job in JOBS]
    assert all(
        re.search(r" every (1 day, )?\d+:\d\d:\d\d  never$", line) for line in before.splitlines()
    )
    code, out, _ = await invoke_command("jobs", "run", "count-users", DATABASE_URL=database_url)
    assert (code, out[:19]) == (0, "counted 0 users on ")
    _, after, _ = await processes.run_command("jobs", "list", DATABASE_URL=database_url)
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == 1
    assert re.fullmatch(
        r"count-users .*  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  counted 0 users on .*", changed[0]
    )


async def test_jobs_list_starts_no_embedded_object_store(database_url: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": database_url, **embedded_store_settings(tmp_path)}
    code, _ = await exit_code_and_output("jobs", "list", **environment)
    assert code == 0
    assert list(tmp_path.iterdir()) == []


async def test_jobs_run_checks_the_schema_before_it_starts_an_embedded_object_store(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await outside_connection.execute("DROP TABLE alembic_version")
    environment = {"DATABASE_URL": database_url, **embedded_store_settings(tmp_path)}
    code, output = await exit_code_and_output("jobs", "run", "sweep-storage", **environment)
    assert (code, output.count("\n")) == (1, 1)
    assert output.endswith("): run python -m app migrate\n")
    assert list(tmp_path.iterdir()) == []


async def test_jobs_check_fails_while_a_job_is_overdue(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    names = ", ".join(job.name for job in JOBS)
    result = await invoke_command("jobs", "check", DATABASE_URL=database_url)
    assert result == (1, "", OVERDUE.format(names))
    insert_run = (
        "INSERT INTO job_runs (name, tick, finished_at, outcome) VALUES ($1, $2, now(), '')"
    )
    for job in JOBS:
        await outside_connection.execute(insert_run, job.name, job.latest_tick())
    result = await invoke_command("jobs", "check", DATABASE_URL=database_url)
    assert result == (0, "No job is overdue.\n", "")
    update_run = "UPDATE job_runs SET tick = $2 WHERE name = $1"
    await outside_connection.execute(
        update_run, JOBS[0].name, JOBS[0].latest_tick() - 2 * JOBS[0].interval
    )
    result = await invoke_command("jobs", "check", DATABASE_URL=database_url)
    assert result == (1, "", OVERDUE.format(JOBS[0].name))


async def test_jobs_check_succeeds_while_a_job_runs_for_the_first_time(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    insert_run = "INSERT INTO job_runs VALUES ($1, now(), now(), '')"
    for job in JOBS[1:]:
        await outside_connection.execute(insert_run, job.name)
    lock_job = "SELECT pg_advisory_lock(hashtextextended('bookshelf job ' || $1, 0))"
    await outside_connection.execute(lock_job, JOBS[0].name)
    result = await invoke_command("jobs", "check", DATABASE_URL=database_url)
    assert result == (0, "No job is overdue.\n", "")
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")
    result = await invoke_command("jobs", "check", DATABASE_URL=database_url)
    assert result == (1, "", OVERDUE.format(JOBS[0].name))


async def test_jobs_run_fails_with_one_line_if_job_is_unknown() -> None:
    names = ", ".join(job.name for job in JOBS)
    code, out, err = await invoke_command("jobs", "run", "nothing")
    assert (code, out, err) == (1, "", f"bookshelf: unknown job nothing: the jobs are {names}\n")


async def run_on_terminal(*command: str, **environment: str) -> tuple[int | None, str, str]:
    """Run a command whose standard error is a terminal.

    Returns the exit code, the standard output and the output on the terminal.
    """
    controller, terminal = pty.openpty()
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    process = await spawn_command(*command, environment=environment, stderr=terminal)
    os.close(terminal)

    def shown() -> Iterator[bytes]:
        try:
            while piece := os.read(controller, 4096):
                yield piece
        except OSError:
            # The command has closed the terminal.
            pass

    reading = asyncio.create_task(asyncio.to_thread(lambda: b"".join(shown())))
    code, out, _ = await wait_for_result(process)
    err = await reading
    os.close(controller)
    return code, out, err.decode()


async def test_progress_bar_is_shown_on_terminal_but_not_in_standard_output(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    code, out, err = await run_on_terminal("seed", DATABASE_URL=database_url)
    assert (code, out[:13]) == (0, "Books added: ")
    assert out.count("\n") == 1
    assert "reading" in err
    assert "━" in err
    code, out, err = await run_on_terminal("export", "books", DATABASE_URL=database_url)
    assert (code, "\x1b" in out, out[:16]) == (0, False, "author,dob,title")
    assert "writing" in err
    assert "100%" in err


async def test_progress_bar_is_not_shown_without_a_terminal(database_url: str) -> None:
    result = await processes.run_command(
        "seed", DATABASE_URL=database_url, FORCE_COLOR="1", TERM="xterm"
    )
    assert (result.exit_code, result.stderr) == (0, "")
