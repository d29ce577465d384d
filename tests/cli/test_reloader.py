"""The reloader of `serve --reload`. `make hosts` tests it with the whole service."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.processes import PROJECT_ROOT, TIMEOUT_SECONDS, poll_until

pytestmark = pytest.mark.slow

# A server that is reloaded. `{text}` is its response.
SERVER_MODULE = """
import functools, http.server, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{text}")

def serve(sockets):
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket = sockets[0]
    server.socket.listen()
    server.serve_forever()
"""
PROGRAM = """
import socket, sys
from pathlib import Path
from app.cli.reloader import Reloader
from code_of_server.server import serve

listener = socket.socket(fileno=int(sys.argv[1]))
Reloader(listener, serve, serve, [Path("code_of_server")]).run()
"""


class ReloadedServer:
    """A server whose reloader watches a directory."""

    def __init__(self, directory: Path, origin: str) -> None:
        self.directory = directory
        self.client = httpx.AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS)
        self.output = ""

    def write_code(self, code: str) -> None:
        (self.directory / "code_of_server" / "server.py").write_text(code)

    async def wait_for_response(self, text: str) -> None:
        """Wait until the server responds with a text."""

        async def responds() -> bool:
            try:
                response = await self.client.get("/")
            except httpx.RemoteProtocolError:
                # This server, other than that of the service, ends without a last response.
                return False
            return response.text == text

        await poll_until(responds)


@asynccontextmanager
async def running_reloader(directory: Path) -> AsyncIterator[ReloadedServer]:
    """Start a reloader with a server that responds with "first", and stop both at the end."""
    (directory / "code_of_server").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ReloadedServer(directory, f"http://127.0.0.1:{listener.getsockname()[1]}")
        server.write_code(SERVER_MODULE.replace("{text}", "first"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(listener.fileno()),
            cwd=directory, env={"PYTHONPATH": f"{PROJECT_ROOT}:{directory}"},
            pass_fds=[listener.fileno()], stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip

        async def read_output() -> None:
            assert process.stdout
            async for line in process.stdout:
                server.output += line.decode()

        reading = asyncio.create_task(read_output())
        try:
            async with server.client:
                yield server
        finally:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await reading
            assert await process.wait() == 0


async def test_server_is_restarted_after_edits_and_errors(tmp_path: Path) -> None:
    async with running_reloader(tmp_path) as server:
        await server.wait_for_response("first")
        server.write_code(SERVER_MODULE.replace("{text}", "second"))
        await server.wait_for_response("second")

        server.write_code("def (")

        async def has_ended() -> bool:
            return "the server has ended" in server.output

        await poll_until(has_ended)
        assert "SyntaxError" in server.output
        # The client waits until the next server accepts its connection.
        response = asyncio.create_task(server.client.get("/"))
        server.write_code(SERVER_MODULE.replace("{text}", "third"))
        assert (await response).text == "third"

        (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG")

        async def has_noticed_settings() -> bool:
            return "detected changes in '.env'" in server.output

        await poll_until(has_noticed_settings)
        await server.wait_for_response("third")
