"""Runs nginx and HAProxy with the configurations of deploy/, in front of servers of a test."""

import csv
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from httpx import AsyncClient, AsyncHTTPTransport

from app.embedded.processes import start_process, wait_until
from checks import proxies
from tests.support.metrics import find_free_port
from tests.support.processes import TIMEOUT_SECONDS

NAMES = ("nginx", "haproxy")
PROGRAMS = {"nginx": proxies.NGINX, "haproxy": proxies.HAPROXY}
HOST = "api.example.com"
# The addresses of the servers in both configurations.
SERVER_ADDRESSES = ("10.0.0.11:8000", "10.0.0.12:8000")


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    name: str
    # For example "https://127.0.0.1:54321".
    origin: str
    # The origin that is not encrypted.
    plain_origin: str
    # Has the certificate, the socket to manage HAProxy, and the log.
    directory: Path
    # Accepts only the certificate of the proxy.
    tls: ssl.SSLContext

    def create_client(self, local_address: str | None = None) -> AsyncClient:
        """Return an HTTP client of the proxy, which connects from the local address."""
        transport = AsyncHTTPTransport(verify=self.tls, local_address=local_address)
        headers = {"Host": HOST}
        return AsyncClient(
            base_url=self.origin, headers=headers, transport=transport, timeout=TIMEOUT_SECONDS
        )

    def read_check(self, backend: str, server: str) -> tuple[str, str, str]:
        """Return the state of a server of HAProxy, and the result and status of its last check.

        For example `("UP", "L7OK", "200")`. L4 results are those of the connection.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / "admin.sock"))
            connection.sendall(b"show stat\n")
            with connection.makefile() as output:
                text = output.read().removeprefix("# ")
        for row in csv.DictReader(text.splitlines()):
            if (row["pxname"], row["svname"]) == (backend, server):
                return row["status"], row["check_status"], row["check_code"]
        raise AssertionError(text)


def is_installed(name: str) -> bool:
    """Return whether a proxy, and OpenSSL for its certificate, are installed."""
    return PROGRAMS[name] is not None and proxies.OPENSSL is not None


def skip_without_proxy(name: str) -> None:
    """Skip the test if the proxy or OpenSSL is not installed."""
    if not is_installed(name):
        pytest.skip(f"{name} or openssl is not installed")


@contextmanager
def running_proxy(name: str, server_addresses: Sequence[str]) -> Iterator[Proxy]:
    """Run a proxy in front of two servers, for example `["127.0.0.1:8001", "127.0.0.1:8002"]`."""
    with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory_name:
        directory = Path(directory_name)
        proxies.create_certificate(directory)
        proxy = Proxy(
            name,
            f"https://127.0.0.1:{find_free_port()}",
            f"http://127.0.0.1:{find_free_port()}",
            directory,
            ssl.create_default_context(cafile=directory / f"{HOST}.pem"),
        )
        log_file = directory / "output"
        process = start_process(_write_command(proxy, server_addresses), log_file)
        try:
            wait_until(lambda: _accepts_connections(proxy.origin), process, f"{name} did not start")
            yield proxy
        finally:
            _stop(process)


def _write_command(proxy: Proxy, server_addresses: Sequence[str]) -> list[str]:
    """Write the configuration of a proxy, and return the command that runs it."""
    servers = dict(zip(SERVER_ADDRESSES, server_addresses, strict=True))
    program = str(PROGRAMS[proxy.name])
    address = urlsplit(proxy.origin).netloc
    plain_address = urlsplit(proxy.plain_origin).netloc
    if proxy.name == "nginx":
        listeners = {
            "listen [::]:80;": "",
            "listen [::]:443 ssl http2;": "",
            "listen 80;": f"listen {plain_address};",
            "listen 443 ssl http2;": f"listen {address} ssl http2;",
        }
        file = proxies.write_nginx_configuration(proxy.directory, servers | listeners)
        return [program, "-g", "daemon off;", "-c", str(file)]
    binds = {"bind :80\n": f"bind {plain_address}\n", "bind :443 ": f"bind {address} "}
    file = proxies.write_haproxy_configuration(proxy.directory, servers | binds)
    return [program, "-db", "-f", str(file)]


def _accepts_connections(origin: str) -> bool:
    address = urlsplit(origin)
    with socket.socket() as connection:
        return connection.connect_ex((address.hostname, address.port)) == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(TIMEOUT_SECONDS)
