"""A cluster of two Postgres servers that Patroni manages, with etcd and HAProxy."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import httpx
import psutil

from app.embedded.postgresql import get_program_path, get_unprivileged_prefix
from app.embedded.processes import get_exit_with_parent_prefix
from drills.postgres_nodes import DATABASE, HOST, PARAMETERS
from drills.processes import find_free_port, find_program, kill_processes, running_process

PATRONI: Final = Path(__file__).parents[1] / ".venv-ha" / "bin" / "patroni"
# Seconds. Patroni accepts no less. A standby is promoted when the key of the primary has expired.
LEADER_TTL: Final = 20
REQUIRED_PROGRAMS: Final = ("etcd", "haproxy")
CHANGE_TIMEOUT_SECONDS: Final = 60.0
# HAProxy asks Patroni which server is the primary, and closes the connections to any other.
HAPROXY_CONFIGURATION: Final = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    default-server check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
listen primary
    bind 127.0.0.1:{primary_port}
    option httpchk GET /primary
{servers}
listen standby
    bind 127.0.0.1:{standby_port}
    option httpchk GET /replica
{servers}
"""


class PatroniNode:
    """One Postgres server and the Patroni that manages it."""

    def __init__(self, name: str, directory: Path, etcd_port: int) -> None:
        """Define a server. `etcd_port` is the port of the store in which the leader is elected."""
        self.name = name
        self.port = find_free_port()
        self.rest_port = find_free_port()
        self._directory = directory
        self._data_dir = directory / name
        self._etcd_port = etcd_port
        self._processes = ExitStack()

    def start(self) -> None:
        """Start Patroni, which creates or copies the data, and starts Postgres."""
        configuration_file = self._directory / f"{self.name}.json"
        # JSON is also YAML.
        configuration_file.write_text(json.dumps(self._configuration()))
        command = [*get_unprivileged_prefix(), str(PATRONI), str(configuration_file)]
        log_file = self._directory / f"patroni-{self.name}.log"
        self._patroni = self._processes.enter_context(running_process(command, log_file, {}))

    def kill(self) -> None:
        """Kill Patroni and Postgres, as if the machine had failed."""
        kill_processes(self._all_processes())
        self._processes.close()

    def freeze(self) -> None:
        """Suspend Patroni and Postgres, as if the machine did not respond."""
        for process in self._all_processes():
            process.suspend()

    def resume(self) -> None:
        """Continue all processes."""
        for process in self._all_processes():
            process.resume()

    def has_role(self, role: str) -> bool:
        """Return whether Patroni says that this server is the `primary`, or a running `replica`."""
        try:
            response = httpx.get(f"http://{HOST}:{self.rest_port}/{role}", timeout=1)
        except httpx.HTTPError:
            return False
        return response.status_code == httpx.codes.OK

    def wait_for_role(self, role: str) -> None:
        """Wait until `has_role`. Raises `TimeoutError` after `CHANGE_TIMEOUT_SECONDS`."""
        deadline = monotonic() + CHANGE_TIMEOUT_SECONDS
        while not self.has_role(role):
            if monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not become {role}")
            sleep(0.1)

    def switch_over_to(self, standby: "PatroniNode") -> None:
        """Ask Patroni to make the standby the primary, and this server a standby."""
        url = f"http://{HOST}:{self.rest_port}/switchover"
        names = {"leader": self.name, "candidate": standby.name}
        httpx.post(url, json=names, timeout=CHANGE_TIMEOUT_SECONDS).raise_for_status()

    def _all_processes(self) -> list[psutil.Process]:
        """Return the processes of Patroni, and those of Postgres, which outlive it."""
        pids = [self._patroni.pid]
        pid_file = self._data_dir / "postmaster.pid"
        if pid_file.exists():
            pids.append(int(pid_file.read_text().split("\n", 1)[0]))
        processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        children = [child for process in processes for child in process.children(recursive=True)]
        return list(dict.fromkeys([*processes, *children]))

    def _configuration(self) -> dict[str, Any]:
        """Return the configuration file of Patroni."""
        rest_address = f"{HOST}:{self.rest_port}"
        address = f"{HOST}:{self.port}"
        parameters = {**PARAMETERS, "unix_socket_directories": str(self._directory)}
        parameters.pop("listen_addresses")
        return {
            "scope": DATABASE,
            "name": self.name,
            "restapi": {"listen": rest_address, "connect_address": rest_address},
            "etcd3": {"host": f"{HOST}:{self._etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": LEADER_TTL,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": parameters},
                },
                "initdb": [
                    {"encoding": "UTF8"},
                    {"locale-provider": "builtin"},
                    {"locale": "C.UTF-8"},
                    "data-checksums",
                ],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self._data_dir),
                "bin_dir": str(Path(get_program_path("postgres")).parent),
                "pgpass": str(self._directory / f"pgpass-{self.name}"),
                "pg_hba": [
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "replicator"},
                    "rewind": {"username": "postgres"},
                },
            },
        }


@contextmanager
def running_etcd(directory: Path) -> Iterator[int]:
    """Run etcd until the block ends, and yield its port."""
    client_port, peer_port = find_free_port(), find_free_port()
    client_url, peer_url = f"http://{HOST}:{client_port}", f"http://{HOST}:{peer_port}"
    etcd = find_program("etcd")
    assert etcd is not None
    command = [
        *(*get_exit_with_parent_prefix(), etcd, "--data-dir", str(directory / "etcd")),
        *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
        *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
        *("--initial-cluster", f"default={peer_url}"),
    ]
    with running_process(command, directory / "etcd.log", {}):
        yield client_port


@contextmanager
def running_database_balancer(
    directory: Path, nodes: list[PatroniNode]
) -> Iterator[tuple[int, int]]:
    """Run HAProxy in front of Postgres. Yield its ports for the primary and for the standby."""
    haproxy = find_program("haproxy")
    assert haproxy is not None
    primary_port, standby_port = find_free_port(), find_free_port()
    servers = "\n".join(
        f"    server {node.name} {HOST}:{node.port} port {node.rest_port}" for node in nodes
    )
    configuration = HAPROXY_CONFIGURATION.format(
        primary_port=primary_port, standby_port=standby_port, servers=servers
    )
    configuration_file = directory / "databases.cfg"
    configuration_file.write_text(configuration)
    command = [haproxy, "-db", "-f", str(configuration_file)]
    with running_process(command, directory / "databases.log", {}):
        yield primary_port, standby_port
