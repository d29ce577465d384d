"""A Postgres server with TLS. The embedded one of the service is built without it."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from app.embedded.postgresql import get_unprivileged_prefix
from app.embedded.processes import CLEAN_ENVIRONMENT, start_process, wait_until
from tests.support.certificates import Authority
from tests.support.directories import server_directory
from tests.support.processes import TIMEOUT_SECONDS

# Distributions install the server in a directory for each version, which is not in the PATH.
_DIRECTORIES: Final = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
POSTGRES: Final = shutil.which(
    "postgres", path=os.pathsep.join([os.environ.get("PATH", ""), *_DIRECTORIES])
)
ADDRESS: Final = "127.0.0.1"
# A name of the server that is not in its certificate.
OTHER_NAME: Final = "localhost"


@dataclass(frozen=True)
class TlsPostgres:
    """A server that accepts TLS connections to `ADDRESS` and `OTHER_NAME`.

    Args:
        port: The port of the server.
        data_directory: Contains the certificate of the server: `server.crt` and `server.key`.
        authority: The authority that has signed the certificate.
        other_authority: One that has not.
    """

    port: int
    data_directory: Path
    authority: Authority
    other_authority: Authority

    def url(self, host: str = ADDRESS, **parameters: str) -> str:
        """Return the URL of the server with query parameters."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        return f"postgresql://postgres@{host}:{self.port}/postgres?{query}"

    def verifying_url(self, authority: Authority, host: str = ADDRESS) -> str:
        """Return a URL that requires a certificate of an authority for the host."""
        return self.url(host, sslmode="verify-full", sslrootcert=str(authority.certificate))

    @asynccontextmanager
    async def using_expired_certificate(self) -> AsyncIterator[None]:
        """Let the server use an expired certificate until the block ends."""
        await self._replace_certificate(days=-1)
        try:
            yield
        finally:
            await self._replace_certificate(days=1)

    async def _replace_certificate(self, *, days: int) -> None:
        """Create a certificate, and wait until new connections use it."""
        select_load_time = "SELECT pg_conf_load_time()"
        previous_load_time = await self._fetch_value(select_load_time)
        self.authority.create_server_certificate(self.data_directory, ADDRESS, days=days)
        await self._fetch_value("SELECT pg_reload_conf()")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await self._fetch_value(select_load_time) == previous_load_time:
                pass

    async def _fetch_value(self, sql: str) -> object:
        """Execute a statement on a new connection, and return the only value of its result."""
        connection = await asyncpg.connect(self.url(sslmode="require"))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()


@contextmanager
def running_tls_postgres() -> Iterator[TlsPostgres]:
    """Run a server with TLS until the block ends."""
    assert POSTGRES is not None
    with server_directory() as directory:
        data_directory = _create_cluster(directory)
        authority = Authority(directory / "authority")
        authority.create_server_certificate(data_directory, ADDRESS)
        port = _find_free_port()
        command = [
            *get_unprivileged_prefix(),
            *(POSTGRES, "-D", str(data_directory), "--fsync=off", "--ssl=on", f"--port={port}"),
            *(f"--listen_addresses={OTHER_NAME}", f"--unix_socket_directories={data_directory}"),
        ]
        log_file = directory / "postgres.log"
        process = start_process(command, log_file)
        try:
            wait_until(lambda: _accepts_connections(port), process, "Postgres did not start")
            yield TlsPostgres(port, data_directory, authority, Authority(directory / "other"))
        finally:
            process.terminate()
            process.wait()


def _create_cluster(directory: Path) -> Path:
    """Create the data directory of a server, and return it."""
    assert POSTGRES is not None
    data_directory = directory / "data"
    data_directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(data_directory, pwd.getpwnam("nobody").pw_uid, -1)
    initdb = str(Path(POSTGRES).resolve().with_name("initdb"))
    options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    subprocess.run(
        [*get_unprivileged_prefix(), initdb, "-D", str(data_directory), "--locale=C", *options],
        check=True,
        capture_output=True,
        env=CLEAN_ENVIRONMENT,
    )
    return data_directory


def _find_free_port() -> int:
    """Return a port on which no server listens."""
    with socket.create_server((ADDRESS, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _accepts_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((ADDRESS, port)) == 0
