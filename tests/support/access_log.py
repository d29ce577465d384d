"""Reads the access log of the service."""

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
    assert process.stdout
    pattern = re.compile(rf" method={method} .*path={re.escape(path)} status=(\d+) ")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for line in process.stdout:
            if match := pattern.search(line.decode()):
                return int(match[1])
    raise AssertionError(f"the server has ended without logging {method} {path}")
