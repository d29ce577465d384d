"""Postgres servers of a drill, each of which may be a primary or a standby."""

import signal
import subprocess
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from app.embedded.postgresql import INITDB_OPTIONS, get_program_path, get_unprivileged_prefix
from app.embedded.processes import CLEAN_ENVIRONMENT, start_process, wait_until
from drills.processes import kill_processes

DATABASE: Final = "bookshelf"
HOST: Final = "127.0.0.1"
# A standby that falls behind finds the WAL it needs on the primary.
PARAMETERS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_keep_size": "256MB",
    # Notice quickly that the other server is gone.
    "wal_receiver_timeout": "2s",
    "wal_retrieve_retry_interval": "200ms",
}


class PostgresNode:
    """One Postgres server on a TCP port, with its own data directory."""

    def __init__(self, name: str, directory: Path, port: int) -> None:
        """Define a server. Call `initialize` or `copy_from`, and then `start`."""
        self.name = name
        self.port = port
        self._data_dir = directory / name
        self._log_file = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The host and the port, for example `127.0.0.1:5433`."""
        return f"{HOST}:{self.port}"

    def url(self, database: str = DATABASE) -> str:
        """Return the URL of a database on this server."""
        return f"postgresql://postgres@{self.address}/{database}"

    def initialize(self) -> None:
        """Create an empty database cluster."""
        # In the configuration file, so that they apply to pg_rewind and to copies as well.
        parameters = [f"--set={name}={value}" for name, value in PARAMETERS.items()]
        self._run("initdb", "-D", str(self._data_dir), *INITDB_OPTIONS, *parameters)

    def copy_from(self, primary: "PostgresNode") -> None:
        """Copy the data of a primary, and follow it when this server starts."""
        self._run(
            *("pg_basebackup", "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf"),
            *("--pgdata", str(self._data_dir), "--dbname", primary.url("postgres")),
        )

    def rewind_to(self, primary: "PostgresNode") -> None:
        """Undo what this server has written after a new primary was promoted, and follow that."""
        self._run(
            *("pg_rewind", "--write-recovery-conf", "--target-pgdata", str(self._data_dir)),
            *("--source-server", f"{primary.url('postgres')}?application_name=standby"),
        )

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        postgres = [get_program_path("postgres"), "-D", str(self._data_dir), f"--port={self.port}"]
        command = [*get_unprivileged_prefix(), *postgres]
        self._process = start_process(command, self._log_file)
        wait_until(self._accepts_connections, self._process, f"See {self._log_file}.")

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        """Stop the server if it runs. SIGINT is Postgres's fast shutdown, SIGQUIT an immediate one.

        A fast shutdown sends everything that is committed to the standby.
        """
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Kill all processes of the server, which then cannot shut down cleanly."""
        kill_processes(self._server_processes())
        if self._process is not None:
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Suspend all processes. Connections stay open, and nothing responds."""
        for process in self._server_processes():
            process.suspend()

    def resume(self) -> None:
        """Continue all processes."""
        for process in self._server_processes():
            process.resume()

    async def execute(self, statement: str) -> object:
        """Execute a statement as the superuser. Return the first value of its result."""
        connection = await asyncpg.connect(self.url("postgres"), timeout=5)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def promote(self) -> None:
        """Make this standby a primary, whose commits do not wait for a standby at first."""
        await self.wait_for_standby(required=False)
        await self.execute("SELECT pg_promote(true)")

    async def wait_for_standby(self, *, required: bool) -> None:
        """Decide whether each commit waits for a standby."""
        names = "*" if required else ""
        await self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await self.execute("SELECT pg_reload_conf()")

    def _server_processes(self) -> list[psutil.Process]:
        """Return the main process of the server and its children, or none if it is stopped."""
        if self._process is None:
            return []
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _accepts_connections(self) -> bool:
        command = [get_program_path("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(command, check=False, env=CLEAN_ENVIRONMENT).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        """Run a program of Postgres. Raises `RuntimeError` with its output if it fails."""
        result = subprocess.run(
            [*get_unprivileged_prefix(), get_program_path(program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=CLEAN_ENVIRONMENT,
        )
        if result.returncode != 0:
            raise RuntimeError(f"{program} failed: {result.stderr.strip()}")
