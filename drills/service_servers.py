"""The servers of a drill: two of this service, and HAProxy in front of them."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import httpx

from app import embedded
from drills.processes import find_free_port, find_program, running_process

START_TIMEOUT_SECONDS: Final = 30.0
# Shorter than the defaults, so that a drill takes less time.
SETTINGS: Final = {
    "APP_ENV": "test",
    "ANONYMOUS_ACCESS": "full",
    "ALLOWED_HOSTS": "127.0.0.1",
    "DB_POOL_TIMEOUT": "1",
    "DB_STATEMENT_TIMEOUT": "2",
    "REQUEST_TIMEOUT": "5",
    "LOG_LEVEL": "WARNING",
    "LOG_FORMAT": "json",
}
# A server that is not ready gets no requests, unless none is ready. Then all get them, because they
# may still serve reports, and tell clients when to retry.
HAPROXY_CONFIGURATION: Final = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    option redispatch
    retries 2
    retry-on conn-failure
frontend clients
    bind 127.0.0.1:{port}
    use_backend alive if {{ nbsrv(ready) eq 0 }}
    default_backend ready
backend ready
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
    default-server check inter 200ms fall 2 rise 1
{servers}
backend alive
    balance roundrobin
    option httpchk GET /livez
    default-server check inter 200ms fall 2 rise 1
{servers}
"""


@contextmanager
def running_service_servers(
    directory: Path, database_url: str, reporting_url: str
) -> Iterator[list[str]]:
    """Run two servers of this service, and HAProxy if it is installed.

    Yields the origins to which clients send requests: that of HAProxy, or those of both servers.
    """
    with ExitStack() as stack:
        store = stack.enter_context(embedded.run_s3_server(directory / "store"))
        environment = {
            **SETTINGS,
            **store.credential_variables(),
            "PATH": os.environ["PATH"],
            "S3_ENDPOINT_URL": store.endpoint,
            "S3_BUCKET": embedded.BUCKET,
            "DATABASE_URL": database_url,
            "REPORTING_DATABASE_URL": reporting_url,
        }
        ports = [find_free_port(), find_free_port()]
        for port in ports:
            command = [sys.executable, "-m", "app", "serve"]
            log_file = directory / f"server-{port}.log"
            stack.enter_context(
                running_process(command, log_file, {**environment, "PORT": str(port)})
            )
        origins = [f"http://127.0.0.1:{port}" for port in ports]
        wait_until_ready(origins)
        haproxy = find_program("haproxy")
        if haproxy is None:
            print("HAProxy is not installed, so the clients use both servers themselves.")
            yield origins
            return
        port = find_free_port()
        configuration_file = directory / "haproxy.cfg"
        configuration_file.write_text(create_haproxy_configuration(port, ports))
        command = [haproxy, "-db", "-f", str(configuration_file)]
        stack.enter_context(running_process(command, directory / "haproxy.log", {}))
        origin = f"http://127.0.0.1:{port}"
        wait_until_ready([origin])
        yield [origin]


def create_haproxy_configuration(port: int, server_ports: list[int]) -> str:
    """Return the configuration of an HAProxy that listens on a port, in front of two servers."""
    servers = [
        f"    server server{number} 127.0.0.1:{server_port}"
        for number, server_port in enumerate(server_ports, start=1)
    ]
    return HAPROXY_CONFIGURATION.format(port=port, servers="\n".join(servers))


def wait_until_ready(origins: list[str]) -> None:
    """Wait until `/readyz` of each server is 200. Raises `TimeoutError` if it takes too long."""
    deadline = monotonic() + START_TIMEOUT_SECONDS
    for origin in origins:
        while not is_ready(origin):
            if monotonic() > deadline:
                raise TimeoutError(f"{origin} has not become ready")
            sleep(0.1)


def is_ready(origin: str) -> bool:
    """Return whether a server is ready for requests."""
    try:
        return httpx.get(f"{origin}/readyz", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
