"""Which servers the tests use, and the template database that every test's data comes from.

The suite creates databases on its Postgres and marks each with a comment. It never touches one
that exists without the mark: a developer's database cannot be wiped by a wrong setting.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from app import embedded, schema

DATABASE_COMMENT = "made by the Bookshelf test suite; it may be dropped at any time"
# However the server was made: what sorts before what, and what is a letter.
LOCALE_OPTIONS = "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
STORE_SECRET_KEY = "only-of-the-test-suite"
# Durability is not what these tests are about, save where one asks for it.
SETTINGS_WITHOUT_DURABILITY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@contextmanager
def running_template_database() -> Iterator[str]:
    """The URL of the template database, migrated to head, for as long as the block lasts."""
    with _running_postgres() as url:
        asyncio.run(recreate_database(url))
        schema.upgrade(sqlalchemy_url(url))
        yield url


@contextmanager
def _running_postgres() -> Iterator[str]:
    if named := os.environ.get("TEST_DATABASE_URL"):
        yield named
    elif _use_containers():
        # Its reaper is an image more to be had; leaving the block removes the container as well.
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - slow

        unsafe = " ".join(
            f"-c {name}={value}" for name, value in SETTINGS_WITHOUT_DURABILITY.items()
        )
        container = PostgresContainer("postgres:18", driver=None)
        with container.with_command(f"postgres {unsafe}"):
            yield container.get_connection_url().rsplit("/", 1)[0] + "/bookshelf_test"
    else:
        with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory:
            Path(directory).chmod(0o755)
            with embedded.run_postgres(Path(directory), SETTINGS_WITHOUT_DURABILITY) as server:
                yield server.url("bookshelf_test")


@contextmanager
def running_store() -> Iterator[dict[str, str]]:
    """The environment of a store, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory, ExitStack() as stack:
        if _use_containers():
            endpoint, secret = stack.enter_context(_running_store_container()), STORE_SECRET_KEY
            found = {"AWS_ACCESS_KEY_ID": "bookshelf", "AWS_SECRET_ACCESS_KEY": secret}
        else:
            store = stack.enter_context(embedded.run_s3_server(Path(directory)))
            endpoint, found = store.endpoint, store.environment()
        yield {**found, "TEST_S3_ENDPOINT_URL": endpoint}


@contextmanager
def _running_store_container() -> Iterator[str]:
    with create_store_container() as container:
        container.exec(["mkdir", "-p", f"/data/{embedded.BUCKET}"])
        yield f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8080)}"


def create_store_container() -> Any:
    """A store that is not started yet, and has no bucket."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    container = DockerContainer("rclone/rclone:1.75").with_exposed_ports(8080)
    container.with_command(f"serve s3 --addr :8080 --auth-key bookshelf,{STORE_SECRET_KEY} /data")
    # By what it says: the status that a request without a signature gets differs by version.
    return container.waiting_for(LogMessageWaitStrategy("Starting s3 server"))


def _use_containers() -> bool:
    """Containers where a daemon has or gets the image; TEST_SERVICES forces either."""
    forced = os.environ.get("TEST_SERVICES")
    if forced not in {None, "", "embedded", "containers"}:
        pytest.exit("TEST_SERVICES must be embedded or containers", returncode=1)
    if forced:
        return forced == "containers"
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    import docker  # noqa: PLC0415 - slow to import, and only needed here
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        with closing(docker.DockerClient(timeout=5)) as client:
            client.images.get("postgres:18")
    except DockerException:
        return False
    return True


def sqlalchemy_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


def with_database_name(url: str, database: str) -> str:
    """The same server, another database."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


async def recreate_database(url: str, template: str = f"template0 {LOCALE_OPTIONS}") -> None:
    """Make the database anew, from a template. Exits when it exists and is not the suite's."""
    name = make_url(url).database
    assert name
    connection = await asyncpg.connect(with_database_name(url, "postgres"))
    try:
        await _drop_if_created_by_suite(connection, name)
        # Without durability the files are copied in a third of the time that their log takes.
        copied = f'CREATE DATABASE "{name}" TEMPLATE {template} STRATEGY FILE_COPY'
        await connection.execute(copied)
        await connection.execute(f"COMMENT ON DATABASE \"{name}\" IS '{DATABASE_COMMENT}'")
    finally:
        await connection.close()


async def copy_database(url: str, suffix: str) -> str:
    """The URL of a fresh copy of a database."""
    name = make_url(url).database
    made = with_database_name(url, f"{name}_{suffix}")
    await recreate_database(made, f'"{name}"')
    return made


@asynccontextmanager
async def copy_with_rows(template: str, rows: str) -> AsyncIterator[str]:
    """The URL of a copy with rows of its own, for as long as the block lasts."""
    url = await copy_database(template, uuid4().hex[:12])
    connection = await asyncpg.connect(url)
    await connection.execute(rows)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    yield url
    await drop_database(url)


async def drop_database(url: str) -> None:
    """Remove a database that the suite made."""
    connection = await asyncpg.connect(with_database_name(url, "postgres"))
    try:
        await _drop_if_created_by_suite(connection, make_url(url).database or "")
    finally:
        await connection.close()


async def _drop_if_created_by_suite(connection: asyncpg.Connection, name: str) -> None:
    query = (
        "SELECT coalesce(shobj_description(oid, 'pg_database'), '') "
        "FROM pg_database WHERE datname = $1"
    )
    mark = await connection.fetchval(query, name)
    if mark is None:
        return
    if mark != DATABASE_COMMENT:
        pytest.exit(f"refusing to touch the database {name}: the suite did not create it", 1)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
