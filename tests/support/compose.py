"""Reads the Dockerfile and docker-compose.yml, and runs their commands without Docker."""

import asyncio
import json
import re
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from app.embedded import postgresql
from app.embedded.processes import start_process, wait_until
from tests.support.processes import PROJECT_ROOT, TIMEOUT_SECONDS

COMPOSE_FILE: Final = PROJECT_ROOT / "docker-compose.yml"
DOCKERFILE: Final = PROJECT_ROOT / "Dockerfile"
# The directory that contains the programs of the virtual environment, such as rclone.
BINARY_DIRECTORY: Final = Path(sys.executable).parent
# The definition of a service in docker-compose.yml.
Service = dict[str, Any]
# An instruction of the Dockerfile and its arguments: ("COPY", "app app").
Instruction = tuple[str, str]


def load_compose_file() -> dict[str, Any]:
    """Return docker-compose.yml. Variables have their defaults: `${PORT:-8000}` becomes `8000`."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE_FILE.read_text())
    compose_file: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return compose_file


def dockerfile_stages() -> list[list[Instruction]]:
    """Return the instructions of each stage of the Dockerfile.

    Example: `[[("FROM", "${PYTHON_IMAGE} AS build"), ("RUN", "pip install ...")], ...]`. What
    comes before the first stage is left out.
    """
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    stages: list[list[Instruction]] = []
    for line in lines:
        if not line:
            continue
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((name, arguments))
    return stages


def image_instructions(name: str) -> list[str]:
    """Return the arguments of each `name` instruction in the last stage of the Dockerfile."""
    last_stage = dockerfile_stages()[-1]
    return [arguments for instruction, arguments in last_stage if instruction == name]


def image_command(name: str) -> list[str]:
    """Return the command of ENTRYPOINT, CMD or HEALTHCHECK: `["python", "-m", "app"]`."""
    [arguments] = image_instructions(name)
    command: list[str] = json.loads(arguments[arguments.index("[") :])
    return command


def image_environment() -> dict[str, str]:
    """Return the environment variables that the image sets."""
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(image_instructions("ENV"))))


def copied_paths(stage: list[Instruction]) -> list[tuple[str, str]]:
    """Return the source and target of each path that a stage copies from the repository."""
    arguments = [arguments.split() for name, arguments in stage if name == "COPY"]
    return [(words[0], words[1]) for words in arguments if not words[0].startswith("--from")]


def create_image_directory(directory: Path) -> Path:
    """Copy the files that the image contains, and nothing else, into a directory."""
    for source, target in copied_paths(dockerfile_stages()[-1]):
        if (PROJECT_ROOT / source).is_dir():
            shutil.copytree(PROJECT_ROOT / source, directory / target)
        else:
            shutil.copy(PROJECT_ROOT / source, directory / target)
    return directory


@contextmanager
def running_object_store(service: Service, directory: Path) -> Iterator[str]:
    """Run the command of the object store service on a directory, and yield its origin.

    The volumes of the service become subdirectories of the directory.
    """
    command = service["command"].split()
    container_directory = Path(command[-1])
    for volume in service["volumes"]:
        _, target = volume.split(":")
        (directory / Path(target).relative_to(container_directory)).mkdir(parents=True)
    command[command.index("--addr") + 1] = "127.0.0.1:0"
    command[-1] = str(directory)
    log_file = directory.with_suffix(".log")
    process = start_process(
        [str(BINARY_DIRECTORY / "rclone"), *command], log_file, service["environment"]
    )
    try:
        address_match = wait_until(
            lambda: re.search(r"s3 server on \[(http://.+?)/\]", log_file.read_text()),
            process,
            f"the object store did not start, see {log_file}",
        )
        yield address_match[1]
    finally:
        process.terminate()
        process.wait()


async def start_image_command(
    command: list[str], environment: Mapping[str, str], working_directory: Path
) -> Process:
    """Start a command of the image on this machine, with no other environment variables.

    The program is that of this machine, which is installed in another directory than in the image.
    Errors are written to standard output.
    """
    local_programs = {
        "python": sys.executable,
        "pg_isready": postgresql.get_program_path("pg_isready"),
    }
    name = command[0]
    program = local_programs.get(name) or str(BINARY_DIRECTORY / name)
    return await asyncio.create_subprocess_exec(
        program, *command[1:], env=environment, cwd=working_directory, stdout=PIPE, stderr=STDOUT
    )


async def run_image_command(
    command: list[str], environment: Mapping[str, str], working_directory: Path
) -> tuple[int | None, str]:
    """Run a command of the image. Return its exit code, and its output and errors as one text."""
    process = await start_image_command(command, environment, working_directory)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
