"""Startup of the application: garbage collector, imports and the first readiness check.

The application runs in another process, because it changes the garbage collector permanently.
"""

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

# The service or its packages import these for other commands, for files, for exported traces or for
# tests. With what it imports, each of them takes 0.5 to 26 MiB in every process that imports it.
RARELY_NEEDED_MODULES = {
    *("alembic", "apscheduler", "boto3", "botocore", "dns", "httpx", "jinja2", "mako", "pygments"),
    *("opentelemetry.sdk", "rich", "sqlite3", "unittest", "urllib3", "xml.etree", "yaml"),
}
# Prints whether startup froze objects, the thresholds of the garbage collector, and, in a second
# line, which slow modules were imported.
STARTUP_PROGRAM = f"""
import asyncio, gc, sys
from app import cli
from app.main import create_app
from app.settings import Settings

async def main():
    settings = Settings(_env_file=None, database_url="postgresql://nowhere/x", s3_bucket="files")
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        print(gc.get_freeze_count() > 10_000, *gc.get_threshold())
        print(*sorted({RARELY_NEEDED_MODULES} & sys.modules.keys()))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def output_lines() -> list[str]:
    """The output of STARTUP_PROGRAM."""
    command = [sys.executable, "-c", STARTUP_PROGRAM]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_startup_freezes_objects_and_sets_thresholds_of_garbage_collector(
    output_lines: list[str],
) -> None:
    assert output_lines[0] == "True 20000 50 100"


def test_startup_does_not_import_modules_that_only_other_commands_or_uploads_need(
    output_lines: list[str],
) -> None:
    assert output_lines[1] == ""


# Calls /readyz twice at the same time, on a machine that needs 1.5 seconds to import boto3. The
# object store has only one second to respond.
SLOW_IMPORT_PROGRAM = """
import asyncio, sys, time
from importlib.abc import MetaPathFinder

import httpx
from app.main import create_app
from app.settings import Settings

class SlowFinder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "boto3":
            time.sleep(1.5)

async def main():
    sys.meta_path.insert(0, SlowFinder())
    app = create_app(Settings(_env_file=None))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            print("boto3" in sys.modules)
            for response in await asyncio.gather(client.get("/readyz"), client.get("/readyz")):
                print(response.status_code, response.json().get("detail"))
            print("boto3" in sys.modules)

asyncio.run(main())
"""


async def test_first_readiness_check_waits_for_a_slow_import_of_boto3(
    private_database_url: str,
) -> None:
    environment = store_environment() | {
        "DATABASE_URL": private_database_url,
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SLOW_IMPORT_PROGRAM,
        stdout=PIPE,
        cwd=WORKING_DIRECTORY,
        env=environment,
    )
    assert (await wait_for_result(process)).stdout == "False\n200 None\n200 None\nTrue\n"
