"""Schemathesis against a server process; in a process of its own, for what it brings with it."""

import asyncio
import os
import sys
from asyncio.subprocess import STDOUT
from typing import IO, Final

from tests.support.processes import PROJECT_ROOT, running_server

# As whom requests come, and what the service lets those without a token do.
ACCESS: Final = {"admin": "read", "anonymous": "full"}


async def fuzz(url: str, who: str, *options: str, output: IO[bytes] | None = None) -> int:
    """Ask a service over a database for all that its document allows, and for what it does not.

    0 when it has answered all of it as it should; else the output says what it has not.
    """
    environment = {"ANONYMOUS_ACCESS": ACCESS[who], "LOG_LEVEL": "ERROR", "APP_ENV": "test"}
    async with running_server(DATABASE_URL=url, **environment) as (server, origin):
        assert server.stdout
        logging = asyncio.create_task(server.stdout.read())
        module = ("-m", "schemathesis.cli", "--config-file", "tests/fuzz/schemathesis.toml")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *module, "run", f"{origin}/openapi.json", *options),
            cwd=PROJECT_ROOT,
            env={**os.environ, "FUZZ_AS": who, "FUZZ_DATABASE_URL": url},
            stdout=output,
            stderr=STDOUT,
        )
        code = await process.wait()
        server.terminate()
        log = await logging
    os.write(output.fileno() if output else 1, log)
    return code
