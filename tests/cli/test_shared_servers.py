"""Embedded servers that several users share, and that stop after the last of them."""

import asyncio
import subprocess
import sys
from asyncio.subprocess import Process
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from app import embedded
from app.embedded.keeper import STOP_TIMEOUT_SECONDS
from app.embedded.shared_server import SharedServer
from tests.support.processes import PROJECT_ROOT, poll_until

# Takes the place of a server, because it starts quickly.
COMMAND = ["sleep", "1000"]
# Starts a server, and then waits until it is killed.
USER_PROGRAM = f"""
import sys
from pathlib import Path
from app.embedded.shared_server import SharedServer

server = SharedServer(Path(sys.argv[1]), 0)
server.join(lambda: server.start_keeper({COMMAND}))
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server_files(tmp_path: Path) -> Path:
    """The path of the files of a server, without extension."""
    return tmp_path / "server"


def start(
    server_files: Path, linger_seconds: float = 0, command: list[str] = COMMAND
) -> tuple[SharedServer, psutil.Process]:
    """Start a server. Return it and the process of its keeper."""
    server = SharedServer(server_files, linger_seconds)
    server.join(lambda: None)
    keeper = server.start_keeper(command)
    return server, psutil.Process(keeper.pid)


def join(server_files: Path) -> SharedServer:
    """Use a server that is already running."""
    server = SharedServer(server_files, 0)
    server.join(lambda: None)
    return server


async def start_in_other_process(server_files: Path) -> tuple[Process, psutil.Process]:
    """Start a server in a process of its own. Return this process and the keeper."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USER_PROGRAM, str(server_files),
        cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    await process.stdout.readline()
    [keeper] = psutil.Process(process.pid).children()
    return process, keeper


async def kill(process: Process) -> None:
    process.kill()
    await process.wait()


async def wait_for_end(keeper: psutil.Process) -> None:
    async def has_ended() -> bool:
        return not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE

    await poll_until(has_ended)


async def wait_until_running(server: SharedServer) -> None:
    async def is_running() -> bool:
        return server.is_running()

    await poll_until(is_running)


async def test_server_has_stopped_when_its_only_user_has_left(server_files: Path) -> None:
    server, keeper = start(server_files)
    await wait_until_running(server)
    [sleeping_process] = keeper.children()
    server.leave()
    assert not sleeping_process.is_running()
    assert not server.is_running()


async def test_server_runs_until_its_last_user_leaves(server_files: Path) -> None:
    first_user, keeper = start(server_files)
    await wait_until_running(first_user)
    second_user = join(server_files)
    first_user.leave()
    assert second_user.is_running()
    second_user.leave()
    await wait_for_end(keeper)


async def test_server_that_lingers_is_used_by_the_next_user(server_files: Path) -> None:
    first_user, keeper = start(server_files, linger_seconds=0.5)
    await wait_until_running(first_user)
    first_user.leave()
    next_user = join(server_files)
    assert next_user.is_running()
    next_user.leave()
    await wait_for_end(keeper)


@pytest.mark.parametrize("ignored_signals", ["INT", "INT QUIT"])
async def test_server_that_does_not_react_is_ended(
    server_files: Path, ignored_signals: str
) -> None:
    # Postgres 18 does not react while it recovers from a crash.
    command = ["sh", "-c", f"trap '' {ignored_signals}; exec sleep 1000"]
    server, keeper = start(server_files, command=command)
    await wait_until_running(server)
    [sleeping_process] = keeper.children()

    async def ignores_signal() -> bool:
        return bool(sleeping_process.name() == "sleep")

    await poll_until(ignores_signal)
    async with asyncio.timeout(2 * STOP_TIMEOUT_SECONDS + 5):
        await asyncio.to_thread(server.leave)
    assert not sleeping_process.is_running()


async def test_server_stops_when_its_user_is_killed(server_files: Path) -> None:
    first_user, keeper = await start_in_other_process(server_files)
    await kill(first_user)
    await wait_for_end(keeper)


async def test_server_continues_to_run_when_one_of_its_users_is_killed(server_files: Path) -> None:
    first_user, keeper = await start_in_other_process(server_files)
    second_user = join(server_files)
    await wait_until_running(second_user)
    await kill(first_user)

    async def has_noticed_end() -> bool:
        if not keeper.is_running():
            return True
        names = {Path(file.path).name for file in keeper.open_files()}
        return "server.users" in names

    await poll_until(has_noticed_end)
    assert second_user.is_running()
    second_user.leave()
    await wait_for_end(keeper)
    assert second_user.log_file.read_text() == ""


def test_store_continues_to_run_for_the_second_user(tmp_path: Path) -> None:
    with ExitStack() as second_user:
        with embedded.run_s3_server(tmp_path) as store:
            same_store = second_user.enter_context(embedded.run_s3_server(tmp_path))
            assert same_store == store
        assert httpx.get(store.endpoint).is_client_error
