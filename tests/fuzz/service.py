"""Runs schemathesis against a server process.

Schemathesis runs in a process of its own, so that its plugins do not affect the tests.
"""

import asyncio
import os
import sys
from asyncio.subprocess import STDOUT
from typing import IO, Final

import asyncpg

from tests.support.processes import PROJECT_ROOT, running_server

# The callers whose requests are sent, and the value of ANONYMOUS_ACCESS for each.
ANONYMOUS_ACCESS_BY_CALLER: Final = {"admin": "read", "anonymous": "full"}


async def fuzz(
    database_url: str, caller: str, *options: str, output: IO[bytes] | None = None
) -> int:
    """Send valid and invalid requests to a service, and check its responses.

    Returns the exit code of schemathesis, which is 0 if all checks passed.

    Args:
        database_url: The database of the service.
        caller: "admin" or "anonymous".
        options: Arguments of `schemathesis run`.
        output: The file to which the report and then the log of the service are written. The
            default is standard output.
    """
    await _start_change_feed(database_url)
    environment = {
        "ANONYMOUS_ACCESS": ANONYMOUS_ACCESS_BY_CALLER[caller],
        "LOG_LEVEL": "ERROR",
        "APP_ENV": "test",
    }
    async with running_server(DATABASE_URL=database_url, **environment) as (server, origin):
        assert server.stdout
        reading_log = asyncio.create_task(server.stdout.read())
        module = ("-m", "schemathesis.cli", "--config-file", "tests/fuzz/schemathesis.toml")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *module, "run", f"{origin}/openapi.json", *options),
            cwd=PROJECT_ROOT,
            env={**os.environ, "FUZZ_CALLER": caller, "FUZZ_DATABASE_URL": database_url},
            stdout=output,
            stderr=STDOUT,
        )
        exit_code = await process.wait()
        server.terminate()
        log = await reading_log
    output_descriptor = output.fileno() if output else sys.stdout.fileno()
    os.write(output_descriptor, log)
    return exit_code


async def _start_change_feed(database_url: str) -> None:
    """Make the change feed that comes from a template database belong to its copy.

    In production, the worker starts the feed again. `GET /changes` would be 503 until then.
    """
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE change_feed SET home = change_feed_home()")
    await connection.close()
