"""The composition root, in a process of its own: what it does to the collector is for good."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE

import pytest

from tests.support.processes import (
    PROJECT_ROOT,
    WORKING_DIRECTORY,
    store_environment,
    wait_for_result,
)

PROGRAM = """
import asyncio, gc, sys
from app import cli
from app.main import create_app
from app.settings import Settings

async def main():
    given = Settings(_env_file=None, database_url="postgresql://nowhere/x", s3_bucket="files")
    app = create_app(given)
    async with app.router.lifespan_context(app):
        print(gc.get_freeze_count() > 10_000, *gc.get_threshold())
        print(*sorted({"alembic", "apscheduler", "boto3", "httpx", "rich"} & sys.modules.keys()))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """The lines of PROGRAM."""
    command = [sys.executable, "-c", PROGRAM]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_what_start_up_made_is_not_walked_by_the_collector_again(printed: list[str]) -> None:
    assert printed[0] == "True 20000 50 100"


def test_a_server_has_nothing_in_memory_that_only_other_commands_or_files_need(
    printed: list[str],
) -> None:
    assert printed[1] == ""


# An application whose machine needs longer to load boto3 than the store may take to respond.
SLOW_BOTO3 = """
import asyncio, sys, time
from importlib.abc import MetaPathFinder

import httpx
from app.main import create_app
from app.settings import Settings

class Slow(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "boto3":
            time.sleep(1.5)

async def main():
    sys.meta_path.insert(0, Slow())
    app = create_app(Settings(_env_file=None))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            print("boto3" in sys.modules)
            probes = (client.get("/readyz") for _ in range(2))
            for response in await asyncio.gather(*probes):
                print(response.status_code, response.json().get("detail"))
            print("boto3" in sys.modules)

asyncio.run(main())
"""


async def test_first_readiness_check_waits_until_a_slow_boto3_is_loaded(
    private_database_url: str,
) -> None:
    environment = store_environment() | {
        "DATABASE_URL": private_database_url,
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SLOW_BOTO3, stdout=PIPE, cwd=WORKING_DIRECTORY, env=environment
    )
    assert (await wait_for_result(process)).stdout == "False\n200 None\n200 None\nTrue\n"
