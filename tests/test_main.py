"""The composition root, in a process of its own: what it does to the collector is for good."""

import os
import subprocess
import sys

import pytest

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
