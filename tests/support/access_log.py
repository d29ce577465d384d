"""Reads the log of the service, especially its access log."""

import asyncio
import re
from asyncio.subprocess import Process

import pytest

from tests.support.processes import TIMEOUT_SECONDS


def logged_requests(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """Return the method, route and status of each finished request in the access log.

    Example: `[("GET", "/authors/{id}", 200)]`.
    """
    return [
        (record.method, record.route, record.status)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "app.access"
    ]


async def read_logged_status(process: Process, method: str, path: str) -> int:
    """Wait until a server process has logged a request, and return the status of its response.

    Log lines before that of the request are skipped.
    """
    log = await read_log_until(process, f" method={method} ", f" path={path} status=")
    [*_, status] = re.findall(r" status=(\d+) ", log)
    return int(status)


async def read_log_until(process: Process, *words: str) -> str:
    """Read and return the log of a server up to a line that contains all of the words.

    Raises `AssertionError` if the process ends without such a line.
    """
    assert process.stdout
    log = ""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for line in process.stdout:
            log += line.decode()
            if all(word in line.decode() for word in words):
                return log
    raise AssertionError(log)
