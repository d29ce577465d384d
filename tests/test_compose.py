"""Tests of docker-compose.yml and the Dockerfile that run without Docker.

The tests take commands, variables and paths from these files. The embedded Postgres and rclone
replace the images of the database and the object store.
"""

import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import make_url
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import cli
from app.embedded.postgresql import INITDB_OPTIONS
from app.settings import Settings
from tests.support import compose, images, servers
from tests.support.compose import Service
from tests.support.processes import PROJECT_ROOT, Worker, poll_until, wait_for_origin

COMPOSE = compose.load_compose_file()
SERVICES: dict[str, Service] = COMPOSE["services"]
# The services that run the image of the Dockerfile.
APP_SERVICES = ("migrate", "server", "worker")
# These variables are read by boto3 and not by the settings of the service.
BOTO3_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
PYTHON_VARIABLES = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


@pytest.fixture
async def empty_database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a database that has no tables."""
    url = servers.with_database_name(template_url, f"bookshelf_test_{uuid4().hex[:12]}")
    await servers.recreate_database(url)
    yield url
    await servers.drop_database(url)


@pytest.fixture
def image_directory(tmp_path: Path) -> Path:
    """A directory with the files that the image has in its working directory."""
    directory = tmp_path / "image"
    directory.mkdir()
    return compose.create_image_directory(directory)


@pytest.fixture
def store_url(tmp_path: Path) -> Iterator[str]:
    """The URL of an object store that runs the command of the `s3` service."""
    with compose.running_object_store(SERVICES["s3"], tmp_path / "data") as origin:
        yield origin


def container_environment(name: str, database_url: str, store_url: str) -> dict[str, str]:
    """Return the environment of an app service, with the URLs of the servers of the tests."""
    variables = {**compose.image_environment(), **SERVICES[name]["environment"], "PORT": "0"}
    published_address, port = SERVICES["s3"]["ports"][0].rsplit(":", 1)
    replacement_urls = {
        f"http://s3:{port}": store_url,
        # Another name of the same host, so that a test can tell which of the two URLs was used.
        f"http://{published_address}": store_url.replace("127.0.0.1", "localhost"),
    }
    for variable in ("S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL"):
        variables[variable] = replacement_urls[variables[variable]]
    return {**variables, "DATABASE_URL": database_url}


def container_command(name: str) -> list[str]:
    """Return the command of an app service, with the entry point of the image."""
    return [*compose.image_command("ENTRYPOINT"), *SERVICES[name]["command"].split()]


@asynccontextmanager
async def running_image_server(
    variables: dict[str, str], image_directory: Path
) -> AsyncIterator[str]:
    """Run the server, yield its URL, and stop it with SIGTERM as Docker does."""
    process = await compose.start_image_command(
        container_command("server"), variables, image_directory
    )
    try:
        yield await wait_for_origin(process)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0


@pytest.mark.slow
async def test_server_serves_documents_after_migrate_service_has_run(
    empty_database_url: str, store_url: str, image_directory: Path
) -> None:
    variables = container_environment("migrate", empty_database_url, store_url)
    assert await compose.run_image_command(
        container_command("migrate"), variables, image_directory
    ) == (0, "The schema is at head.\n")
    variables = container_environment("server", empty_database_url, store_url)
    async with (
        running_image_server(variables, image_directory) as origin,
        httpx.AsyncClient(base_url=origin) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        author = await client.post("/authors", json={"name": "Ursula K. Le Guin"})
        assert author.status_code == 201
        form = {"data": {"name": "The README"}, "files": {"file": b"# Bookshelf"}}
        document = await client.post("/documents", **form)  # type: ignore[arg-type]
        assert document.status_code == 201
        content = await client.get(document.headers["location"] + "/content")
        url = content.headers["location"]
        assert url.startswith(store_url.replace("127.0.0.1", "localhost"))
        assert (await client.get(url)).content == b"# Bookshelf"
    assert not (image_directory / ".data").exists()


def test_object_store_responds_to_the_preflight_request_of_a_page(store_url: str) -> None:
    headers = {"Origin": "http://page.example", "Access-Control-Request-Method": "PUT"}
    response = httpx.options(f"{store_url}/bookshelf/name", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "PUT" in response.headers["access-control-allow-methods"].split(", ")


@pytest.mark.slow
async def test_worker_is_healthy_only_after_it_has_run_all_jobs(
    private_database_url: str, store_url: str, image_directory: Path
) -> None:
    variables = container_environment("worker", private_database_url, store_url)
    test_type, *check = SERVICES["worker"]["healthcheck"]["test"]
    assert test_type == "CMD"
    exit_code, output = await compose.run_image_command(check, variables, image_directory)
    assert exit_code == 1
    assert output.startswith("bookshelf: jobs are overdue:")
    worker = Worker(
        await compose.start_image_command(container_command("worker"), variables, image_directory)
    )

    async def is_healthy() -> bool:
        return (await compose.run_image_command(check, variables, image_directory))[0] == 0

    try:
        await poll_until(is_healthy)
    finally:
        assert await worker.stop() == 0, worker.output


@pytest.mark.slow
async def test_image_is_healthy_only_while_server_responds(
    private_database_url: str, store_url: str, image_directory: Path
) -> None:
    check = compose.image_command("HEALTHCHECK")
    variables = container_environment("server", private_database_url, store_url)
    async with running_image_server(variables, image_directory) as origin:
        variables["PORT"] = str(make_url(origin).port)
        assert await compose.run_image_command(check, variables, image_directory) == (0, "")
        proxy_variables = {**variables, "HTTP_PROXY": "http://127.0.0.1:1"}
        assert await compose.run_image_command(check, proxy_variables, image_directory) == (0, "")
    assert await compose.run_image_command(check, variables, image_directory) == (1, "")


@pytest.mark.parametrize("has_bucket", [True, False])
async def test_s3_service_is_healthy_only_if_bucket_exists(
    tmp_path: Path, has_bucket: bool
) -> None:
    test_type, *check = SERVICES["s3"]["healthcheck"]["test"]
    assert test_type == "CMD"
    port = SERVICES["s3"]["ports"][0].rsplit(":", 1)[1]
    variables = {**SERVICES["s3"]["environment"], "HOME": str(tmp_path)}
    assert variables["RCLONE_S3_ENDPOINT"] == f"http://127.0.0.1:{port}"
    volumes = SERVICES["s3"]["volumes"] if has_bucket else ["s3:/data/other"]
    with compose.running_object_store(
        {**SERVICES["s3"], "volumes": volumes}, tmp_path / "data"
    ) as origin:
        variables["RCLONE_S3_ENDPOINT"] = origin
        exit_code, output = await compose.run_image_command(check, variables, tmp_path)
    assert (exit_code == 0) is has_bucket, output


async def test_postgres_service_is_healthy_only_if_it_accepts_tcp_connections(
    template_url: str, tmp_path: Path
) -> None:
    test_type, *check = SERVICES["postgres"]["healthcheck"]["test"]
    postgres_variables = SERVICES["postgres"]["environment"]
    host_index, user_index, database_index = (
        check.index(option) + 1 for option in ("-h", "-U", "-d")
    )
    assert (test_type, check[host_index]) == ("CMD", "127.0.0.1")
    assert (check[user_index], check[database_index]) == (
        postgres_variables["POSTGRES_USER"],
        postgres_variables["POSTGRES_DB"],
    )
    url = make_url(template_url)
    for host, exit_code in ((url.host or url.query["host"], 0), (tmp_path, 2)):
        check[host_index] = str(host)
        command = [*check, "-p", str(url.port or 5432)]
        assert await compose.run_image_command(command, {}, tmp_path) == (exit_code, "")


def test_services_start_only_after_their_dependencies_are_ready() -> None:
    conditions = {
        name: {
            dependency: options["condition"]
            for dependency, options in service.get("depends_on", {}).items()
        }
        for name, service in SERVICES.items()
    }
    healthy = {"postgres": "service_healthy", "s3": "service_healthy"}
    migrated = {"migrate": "service_completed_successfully"}
    assert conditions == {
        "postgres": {}, "s3": {}, "migrate": healthy, "server": migrated, "worker": migrated
    }  # fmt: skip
    assert all("test" in SERVICES[name]["healthcheck"] for name in healthy)


def test_published_ports_accept_only_connections_from_same_host() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:9000:8080", "127.0.0.1:8000:8000"]
    assert compose.image_instructions("EXPOSE") == [str(Settings.model_fields["port"].default)]
    assert compose.image_environment()["HOST"] == "0.0.0.0"


def test_app_services_share_one_image_and_one_of_them_builds_it() -> None:
    assert {SERVICES[name]["image"] for name in APP_SERVICES} == {"bookshelf"}
    assert [name for name in APP_SERVICES if "build" in SERVICES[name]] == ["migrate"]
    assert SERVICES["migrate"]["build"] == {"context": ".", "args": ["PYTHON_IMAGE"]}


def test_every_other_image_has_a_version_and_a_digest() -> None:
    assert {
        name: service["image"] for name, service in SERVICES.items() if name not in APP_SERVICES
    } == {
        "postgres": images.read_pinned_image("POSTGRES_IMAGE"),
        "s3": images.read_pinned_image("RCLONE_IMAGE"),
    }
    for [(instruction, arguments), *_] in compose.dockerfile_stages():
        assert (instruction, arguments.split()[0]) == ("FROM", "${PYTHON_IMAGE}")
    for variable in images.VARIABLES:
        pinned_image = images.read_pinned_image(variable)
        assert re.fullmatch(r"[a-z/]+:[0-9.]+(-slim)?@sha256:[0-9a-f]{64}", pinned_image)


def test_no_command_contains_a_secret() -> None:
    # Every user of the machine can see the arguments of a process.
    for service in SERVICES.values():
        words = f"{service.get('command')} {service.get('healthcheck')}"
        assert "development-only" not in words


def test_data_directories_of_postgres_and_s3_are_volumes() -> None:
    bucket = SERVICES["server"]["environment"]["S3_BUCKET"]
    data_directory = SERVICES["s3"]["command"].split()[-1]
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert SERVICES["s3"]["volumes"] == [f"s3:{data_directory}/{bucket}"]
    assert set(COMPOSE["volumes"]) == {"postgres", "s3"}


def test_database_url_has_credentials_and_database_of_postgres_service() -> None:
    postgres_variables = SERVICES["postgres"]["environment"]
    url = make_url(SERVICES["server"]["environment"]["DATABASE_URL"])
    assert (url.host, url.port) == ("postgres", 5432)
    assert url.username == postgres_variables["POSTGRES_USER"]
    assert url.password == postgres_variables["POSTGRES_PASSWORD"]
    assert url.database == postgres_variables["POSTGRES_DB"]
    # The embedded Postgres of the tests has the same locale.
    assert postgres_variables["POSTGRES_INITDB_ARGS"].split() == [
        word for word in INITDB_OPTIONS if word.startswith(("--encoding=", "--locale"))
    ]


def test_secrets_in_compose_file_are_marked_as_development_only() -> None:
    secrets = re.findall(r"(?:PASSWORD|SECRET\w*): (.+)", compose.COMPOSE_FILE.read_text())
    assert secrets
    assert all(secret.startswith("development-only-") for secret in secrets)


@pytest.mark.parametrize("name", APP_SERVICES)
def test_environment_of_app_service_contains_only_variables_that_it_reads(name: str) -> None:
    settings = set(map(str.upper, Settings.model_fields))
    variables = SERVICES[name]["environment"]
    assert set(variables) <= settings | BOTO3_VARIABLES
    assert set(compose.image_environment()) <= settings | PYTHON_VARIABLES
    Settings(_env_file=None, **{key.lower(): variables[key] for key in settings & set(variables)})


def test_commands_of_app_services_exist_in_command_line() -> None:
    group = get_command(cli)
    assert isinstance(group, TyperGroup)
    assert compose.image_command("ENTRYPOINT") == ["python", "-m", "app"]
    assert compose.image_command("CMD") == ["serve"]
    assert {SERVICES[name]["command"] for name in APP_SERVICES} <= set(group.commands)


def test_dockerignore_allows_exactly_the_files_that_dockerfile_copies() -> None:
    copied = {
        source for stage in compose.dockerfile_stages() for source, _ in compose.copied_paths(stage)
    }
    assert all((PROJECT_ROOT / source).exists() for source in copied)
    rules = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_image_copies_installed_dependencies_to_usr_local() -> None:
    [install_command] = [
        arguments
        for instruction, arguments in compose.dockerfile_stages()[0]
        if instruction == "RUN"
    ]
    [copied] = [
        arguments.split()
        for arguments in compose.image_instructions("COPY")
        if arguments.startswith("--from")
    ]
    assert copied == [
        "--from=dependencies",
        *re.findall(r"--prefix=(\S+)", install_command),
        "/usr/local",
    ]


@pytest.mark.parametrize("name", [*APP_SERVICES, "s3"])
def test_service_is_read_only_and_unprivileged(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_image_runs_in_production_by_default() -> None:
    assert compose.image_environment()["APP_ENV"] == "production"


def test_image_runs_as_numeric_user_other_than_root() -> None:
    [user] = compose.image_instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
