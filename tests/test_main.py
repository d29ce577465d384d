"""The composition root, in a process of its own: what it does to the collector is for good."""

import os
import subprocess
import sys

PROGRAM = """
import asyncio, gc
from app.main import create_app
from app.settings import Settings

async def main():
    given = Settings(_env_file=None, database_url="postgresql://nowhere/x", s3_bucket="files")
    app = create_app(given)
    async with app.router.lifespan_context(app):
        print(gc.get_freeze_count() > 10_000, *gc.get_threshold())

asyncio.run(main())
"""


def test_what_start_up_made_is_not_walked_by_the_collector_again() -> None:
    command = [sys.executable, "-c", PROGRAM]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout == "True 20000 50 100\n"
