"""Tests of docker-compose.yml and the Dockerfile that need no Docker.

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
from tests.support import compose, servers
from tests.support.compose import Service
from tests.support.processes import PROJECT_ROOT, Worker, poll_until, wait_for_origin

COMPOSE = compose.load_compose_file()
SERVICES: dict[str, Service] = COMPOSE["services"]
OWN_SERVICES = ("migrate", "server", "worker")
# These variables are read by boto3 and not by the settings of the service.
BOTO3_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
PYTHON_VARIABLES = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


@pytest.fixture
async def empty_database(template_url: str) -> AsyncIterator[str]:
    """The URL of a database without a table."""
    url = servers.with_database_name(template_url, f"bookshelf_test_{uuid4().hex[:12]}")
    await servers.recreate_database(url)
    yield url
    await servers.drop_database(url)


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    """A directory with the files that the image has in its working directory."""
    directory = tmp_path / "image"
    directory.mkdir()
    return compose.create_image_directory(directory)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    with compose.running_store(SERVICES["s3"], tmp_path / "data") as origin:
        yield origin


def container_environment(name: str, database: str, store: str) -> dict[str, str]:
    """Return the environment of an own service, with the URLs of the replaced servers."""
    variables = {**compose.image_environment(), **SERVICES[name]["environment"], "PORT": "0"}
    published, port = SERVICES["s3"]["ports"][0].rsplit(":", 1)
    addresses = {
        f"http://s3:{port}": store,
        # Another name of the same host, so that a test can tell which of the two URLs was used.
        f"http://{published}": store.replace("127.0.0.1", "localhost"),
    }
    for variable in ("S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL"):
        variables[variable] = addresses[variables[variable]]
    return {**variables, "DATABASE_URL": database}


def container_command(name: str) -> list[str]:
    return [*compose.image_command("ENTRYPOINT"), *SERVICES[name]["command"].split()]


@asynccontextmanager
async def run_server(variables: dict[str, str], image_dir: Path) -> AsyncIterator[str]:
    """Run the server, yield its URL, and stop it with SIGTERM as Docker does."""
    process = await compose.start_image_command(container_command("server"), variables, image_dir)
    try:
        yield await wait_for_origin(process)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0


async def test_compose_services_migrate_a_database_and_serve_documents(
    empty_database: str, store: str, image_dir: Path
) -> None:
    variables = container_environment("migrate", empty_database, store)
    assert await compose.run_image_command(container_command("migrate"), variables, image_dir) == (
        0,
        "The schema is at head.\n",
    )
    variables = container_environment("server", empty_database, store)
    async with (
        run_server(variables, image_dir) as origin,
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
        assert url.startswith(store.replace("127.0.0.1", "localhost"))
        assert (await client.get(url)).content == b"# Bookshelf"
    assert not (image_dir / ".data").exists()


async def test_worker_is_healthy_after_it_has_run_all_jobs(
    private_database_url: str, store: str, image_dir: Path
) -> None:
    variables = container_environment("worker", private_database_url, store)
    form, *check = SERVICES["worker"]["healthcheck"]["test"]
    assert form == "CMD"
    code, output = await compose.run_image_command(check, variables, image_dir)
    assert code == 1
    assert output.startswith("bookshelf: jobs are overdue:")
    worker = Worker(
        await compose.start_image_command(container_command("worker"), variables, image_dir)
    )

    async def healthy() -> bool:
        return (await compose.run_image_command(check, variables, image_dir))[0] == 0

    try:
        await poll_until(healthy)
    finally:
        assert await worker.stop() == 0, worker.output


async def test_image_is_healthy_while_the_server_responds(
    private_database_url: str, store: str, image_dir: Path
) -> None:
    check = compose.image_command("HEALTHCHECK")
    variables = container_environment("server", private_database_url, store)
    async with run_server(variables, image_dir) as origin:
        variables["PORT"] = str(make_url(origin).port)
        assert await compose.run_image_command(check, variables, image_dir) == (0, "")
        proxied = {**variables, "HTTP_PROXY": "http://127.0.0.1:1"}
        assert await compose.run_image_command(check, proxied, image_dir) == (0, "")
    assert await compose.run_image_command(check, variables, image_dir) == (1, "")


@pytest.mark.parametrize("has_bucket", [True, False])
async def test_s3_service_is_healthy_if_it_has_the_bucket(tmp_path: Path, has_bucket: bool) -> None:
    form, *check = SERVICES["s3"]["healthcheck"]["test"]
    assert form == "CMD"
    port = SERVICES["s3"]["ports"][0].rsplit(":", 1)[1]
    variables = {**SERVICES["s3"]["environment"], "HOME": str(tmp_path)}
    assert variables["RCLONE_S3_ENDPOINT"] == f"http://127.0.0.1:{port}"
    volumes = SERVICES["s3"]["volumes"] if has_bucket else ["s3:/data/other"]
    with compose.running_store({**SERVICES["s3"], "volumes": volumes}, tmp_path / "data") as origin:
        variables["RCLONE_S3_ENDPOINT"] = origin
        code, output = await compose.run_image_command(check, variables, tmp_path)
    assert (code == 0) is has_bucket, output


async def test_postgres_service_is_healthy_if_it_accepts_connections(
    template_url: str, tmp_path: Path
) -> None:
    form, *check = SERVICES["postgres"]["healthcheck"]["test"]
    postgres_variables = SERVICES["postgres"]["environment"]
    loopback, user, database = (check.index(option) + 1 for option in ("-h", "-U", "-d"))
    assert (form, check[loopback]) == ("CMD", "127.0.0.1")
    assert (check[user], check[database]) == (
        postgres_variables["POSTGRES_USER"],
        postgres_variables["POSTGRES_DB"],
    )
    url = make_url(template_url)
    for host, code in ((url.host or url.query["host"], 0), (tmp_path, 2)):
        check[loopback] = str(host)
        command = [*check, "-p", str(url.port or 5432)]
        assert await compose.run_image_command(command, {}, tmp_path) == (code, "")


def test_services_start_after_their_dependencies() -> None:
    conditions = {
        name: {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    healthy = {"postgres": "service_healthy", "s3": "service_healthy"}
    migrated = {"migrate": "service_completed_successfully"}
    assert conditions == {
        "postgres": {}, "s3": {}, "migrate": healthy, "server": migrated, "worker": migrated
    }  # fmt: skip
    assert all("test" in SERVICES[name]["healthcheck"] for name in healthy)


def test_published_ports_accept_only_local_connections() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:9000:8080", "127.0.0.1:8000:8000"]
    assert compose.image_instructions("EXPOSE") == [str(Settings.model_fields["port"].default)]
    assert compose.image_environment()["HOST"] == "0.0.0.0"


def test_images_are_pinned_and_own_services_share_one() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert {images.pop(name) for name in OWN_SERVICES} == {"bookshelf"}
    assert [name for name in OWN_SERVICES if "build" in SERVICES[name]] == ["migrate"]
    assert all(re.search(r":\d+(\.\d+)*$", image) for image in images.values())
    for [(verb, base), *_] in compose.dockerfile_stages():
        assert verb == "FROM"
        assert re.match(r"python:3\.\d+-slim\b", base)


def test_data_directories_are_volumes() -> None:
    bucket = SERVICES["server"]["environment"]["S3_BUCKET"]
    served = SERVICES["s3"]["command"].split()[-1]
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert SERVICES["s3"]["volumes"] == [f"s3:{served}/{bucket}"]
    assert set(COMPOSE["volumes"]) == {"postgres", "s3"}


def test_database_url_fits_user_and_database_of_postgres_service() -> None:
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


def test_secrets_are_marked_as_development_only() -> None:
    secrets = re.findall(r"(?:PASSWORD|SECRET\w*): (.+)", compose.COMPOSE_FILE.read_text())
    assert secrets
    assert all(secret.startswith("development-only-") for secret in secrets)


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_environment_contains_only_variables_that_are_read(name: str) -> None:
    settings = set(map(str.upper, Settings.model_fields))
    variables = SERVICES[name]["environment"]
    assert set(variables) <= settings | BOTO3_VARIABLES
    assert set(compose.image_environment()) <= settings | PYTHON_VARIABLES
    Settings(_env_file=None, **{key.lower(): variables[key] for key in settings & set(variables)})


def test_commands_of_services_exist() -> None:
    group = get_command(cli)
    assert isinstance(group, TyperGroup)
    assert compose.image_command("ENTRYPOINT") == ["python", "-m", "app"]
    assert compose.image_command("CMD") == ["serve"]
    assert {SERVICES[name]["command"] for name in OWN_SERVICES} <= set(group.commands)


def test_dockerignore_allows_exactly_the_files_that_are_copied() -> None:
    copied = {
        source for stage in compose.dockerfile_stages() for source, _ in compose.copied_paths(stage)
    }
    assert all((PROJECT_ROOT / source).exists() for source in copied)
    rules = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_dependencies_are_copied_to_the_prefix_of_python() -> None:
    [install] = [rest for verb, rest in compose.dockerfile_stages()[0] if verb == "RUN"]
    [copied] = [
        rest.split() for rest in compose.image_instructions("COPY") if rest.startswith("--from")
    ]
    assert copied == ["--from=dependencies", *re.findall(r"--prefix=(\S+)", install), "/usr/local"]


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_own_services_are_read_only_and_unprivileged(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_image_runs_in_production_by_default() -> None:
    assert compose.image_environment()["APP_ENV"] == "production"


def test_image_runs_as_a_numeric_user_who_is_not_root() -> None:
    [user] = compose.image_instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
