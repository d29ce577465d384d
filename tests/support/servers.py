"""Starts the Postgres server and the object store of the tests, and creates databases.

Every database that the suite creates has the comment DATABASE_COMMENT. The suite does not touch a
database without the comment, so that a wrong setting cannot delete the database of a developer.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from app import embedded, schema
from tests.support.directories import server_directory
from tests.support.images import choose_image, has_local_images
from tests.support.stores import ACCESS_KEY_ID, Store, running_rclone, running_seaweedfs

DATABASE = "bookshelf_test"
DATABASE_COMMENT = "made by the Bookshelf test suite; it may be dropped at any time"
# Text is sorted and classified in the same way on every server.
LOCALE_OPTIONS = "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
# The object store of the tests: "rclone" or "seaweedfs".
STORE_NAME = os.environ.get("TEST_STORE") or "rclone"
STORE_SECRET_KEY = "only-of-the-test-suite"
# The tests are faster if the server does not wait for the disk.
SETTINGS_WITHOUT_DURABILITY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@contextmanager
def running_template_database() -> Iterator[str]:
    """Yield the URL of the template database, migrated to the newest revision.

    The server runs until the block ends.
    """
    with _running_postgres() as url:
        asyncio.run(recreate_database(url))
        schema.upgrade(sqlalchemy_url(url))
        yield url


@contextmanager
def _running_postgres() -> Iterator[str]:
    """Yield the URL of a database, which need not exist, on the Postgres server of the tests.

    The server is that of TEST_DATABASE_URL if it is set, otherwise a container or an embedded one.
    """
    configured_url = os.environ.get("TEST_DATABASE_URL")
    if configured_url:
        yield configured_url
    elif _use_containers():
        with _postgres_container() as container:
            server_url = container.get_connection_url().rsplit("/", 1)[0]
            yield f"{server_url}/{DATABASE}"
    else:
        with (
            server_directory() as directory,
            embedded.run_postgres(directory, SETTINGS_WITHOUT_DURABILITY) as server,
        ):
            yield server.url(DATABASE)


def _postgres_container() -> Any:
    """Return a container with Postgres that is not started yet."""
    # Ryuk, which removes containers, is another image to download. It is not needed, because the
    # container is removed when its block ends.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - slow

    options = [f"-c {name}={value}" for name, value in SETTINGS_WITHOUT_DURABILITY.items()]
    container = PostgresContainer(choose_image("POSTGRES_IMAGE"), driver=None)
    return container.with_command(f"postgres {' '.join(options)}")


@contextmanager
def running_store() -> Iterator[dict[str, str]]:
    """Run the object store until the block ends. TEST_STORE selects it.

    Yields its environment variables: TEST_S3_ENDPOINT_URL and the AWS credentials.
    """
    if STORE_NAME not in {"rclone", "seaweedfs"}:
        pytest.exit("TEST_STORE must be rclone or seaweedfs", returncode=1)
    if STORE_NAME == "seaweedfs":
        run_store = running_seaweedfs
    elif _use_containers():
        run_store = _running_store_container
    else:
        run_store = running_rclone
    with run_store() as store:
        yield {**store.credential_variables(), "TEST_S3_ENDPOINT_URL": store.endpoint}


@contextmanager
def _running_store_container() -> Iterator[Store]:
    """Run a container with rclone and a bucket until the block ends."""
    with create_store_container() as container:
        container.exec(["mkdir", "-p", f"/data/{embedded.BUCKET}"])
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(8080)}"
        yield Store(f"http://{address}", STORE_SECRET_KEY)


def create_store_container() -> Any:
    """Return a container with an object store that is not started yet and has no bucket."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    container = DockerContainer(choose_image("RCLONE_IMAGE")).with_exposed_ports(8080)
    container.with_command("serve s3 --addr :8080 --allow-origin * /data")
    container.with_env("RCLONE_AUTH_KEY", f'"{ACCESS_KEY_ID},{STORE_SECRET_KEY}"')
    # Wait for a log line, because the status of a request without a signature differs by version.
    return container.waiting_for(LogMessageWaitStrategy("Starting s3 server"))


def _use_containers() -> bool:
    """Return whether the tests run Postgres and the object store in containers.

    TEST_SERVICES decides. If it is not set, containers are used if a Docker daemon is running and
    has the image of Postgres.
    """
    configured = os.environ.get("TEST_SERVICES")
    if configured not in {None, "", "embedded", "containers"}:
        pytest.exit("TEST_SERVICES must be embedded or containers", returncode=1)
    if configured:
        return configured == "containers"
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    return has_local_images("POSTGRES_IMAGE")


def sqlalchemy_url(url: str) -> URL:
    """Return the URL of a database for SQLAlchemy: `postgresql+asyncpg://...`."""
    return make_url(url).set(drivername="postgresql+asyncpg")


def with_database_name(url: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


async def recreate_database(url: str, template: str = f"template0 {LOCALE_OPTIONS}") -> None:
    """Create a database from a template, and drop the previous one if it exists.

    Exits the test run if the database exists and was not created by the suite. `template` is the
    part of CREATE DATABASE after TEMPLATE.
    """
    name = make_url(url).database
    assert name
    connection = await asyncpg.connect(with_database_name(url, "postgres"))
    try:
        await _drop_if_created_by_suite(connection, name)
        # Without durability, copying the files takes a third of the time of writing them to the
        # write-ahead log, which is the default strategy.
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {template} STRATEGY FILE_COPY')
        await connection.execute(f"COMMENT ON DATABASE \"{name}\" IS '{DATABASE_COMMENT}'")
    finally:
        await connection.close()


async def copy_database(url: str, suffix: str) -> str:
    """Copy a database, and return the URL of the copy, whose name ends in `_` and the suffix."""
    name = make_url(url).database
    copy_url = with_database_name(url, f"{name}_{suffix}")
    await recreate_database(copy_url, template=f'"{name}"')
    return copy_url


@asynccontextmanager
async def open_copy(template_url: str) -> AsyncIterator[str]:
    """Copy a database, and yield the URL of the copy, which is dropped when the block ends."""
    url = await copy_database(template_url, uuid4().hex[:12])
    yield url
    await drop_database(url)


@asynccontextmanager
async def copy_with_rows(template_url: str, insert_sql: str) -> AsyncIterator[str]:
    """Copy a database, insert rows into the copy, and yield its URL.

    The copy is dropped when the block ends.
    """
    async with open_copy(template_url) as url:
        connection = await asyncpg.connect(url)
        await connection.execute(insert_sql)
        # The query planner needs statistics of the new rows.
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
        yield url


async def drop_database(url: str) -> None:
    """Drop a database that the suite created."""
    connection = await asyncpg.connect(with_database_name(url, "postgres"))
    try:
        await _drop_if_created_by_suite(connection, make_url(url).database or "")
    finally:
        await connection.close()


async def _drop_if_created_by_suite(connection: asyncpg.Connection, name: str) -> None:
    """Drop a database if it exists. Exits the test run if the suite did not create it."""
    query = (
        "SELECT coalesce(shobj_description(oid, 'pg_database'), '') "
        "FROM pg_database WHERE datname = $1"
    )
    comment = await connection.fetchval(query, name)
    database_exists = comment is not None
    if not database_exists:
        return
    if comment != DATABASE_COMMENT:
        pytest.exit(f"refusing to touch the database {name}: the suite did not create it", 1)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
