"""Dockerfile and docker-compose.yml as data, and what they name started without Docker."""

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
from tests.support.processes import PROJECT_ROOT

COMPOSE_FILE: Final = PROJECT_ROOT / "docker-compose.yml"
DOCKERFILE: Final = PROJECT_ROOT / "Dockerfile"
BINARY_DIRECTORY: Final = Path(sys.executable).parent
Service = dict[str, Any]


def load_compose_file() -> dict[str, Any]:
    """The file, with every variable of a shell at its default."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE_FILE.read_text())
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


def dockerfile_stages() -> list[list[tuple[str, str]]]:
    """The instructions of the Dockerfile and their arguments, stage by stage."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    found: list[list[tuple[str, str]]] = []
    for verb, _, rest in (line.partition(" ") for line in lines if line):
        if verb == "FROM":
            found.append([])
        found[-1].append((verb, rest))
    return found


def image_instructions(verb: str) -> list[str]:
    """The arguments of an instruction, as often as it is given for the final image."""
    return [rest for name, rest in dockerfile_stages()[-1] if name == verb]


def image_command(verb: str) -> list[str]:
    """The exec form of ENTRYPOINT, CMD or HEALTHCHECK."""
    [given] = image_instructions(verb)
    words: list[str] = json.loads(given[given.index("[") :])
    return words


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(image_instructions("ENV"))))


def copied_paths(stage: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is copied from the repository, and to where."""
    given = [rest.split() for verb, rest in stage if verb == "COPY"]
    return [(words[0], words[1]) for words in given if not words[0].startswith("--from")]


def create_image_directory(directory: Path) -> Path:
    """The working directory of the image: what the Dockerfile copies there, and nothing else."""
    for source, target in copied_paths(dockerfile_stages()[-1]):
        if (PROJECT_ROOT / source).is_dir():
            shutil.copytree(PROJECT_ROOT / source, directory / target)
        else:
            shutil.copy(PROJECT_ROOT / source, directory / target)
    return directory


@contextmanager
def running_store(service: Service, directory: Path) -> Iterator[str]:
    """The origin of a store that runs the service's own command over a directory of ours."""
    words = service["command"].split()
    served = Path(words[-1])
    for volume in service["volumes"]:
        _, target = volume.split(":")
        (directory / Path(target).relative_to(served)).mkdir(parents=True)
    words[words.index("--addr") + 1], words[-1] = "127.0.0.1:0", str(directory)
    log = directory.with_suffix(".log")
    process = start_process([str(BINARY_DIRECTORY / "rclone"), *words], log)
    try:
        found = r"s3 server on \[(http://.+?)/\]"
        said = wait_until(lambda: re.search(found, log.read_text()), process, f"{log} says why")
        yield said[1]
    finally:
        process.terminate()
        process.wait()


async def start_image_command(
    words: list[str], environment: Mapping[str, str], place: Path
) -> Process:
    """A command of the image, with the environment given and not a variable more."""
    ours = {"python": sys.executable, "pg_isready": postgresql.program_path("pg_isready")}
    program = ours.get(words[0]) or str(BINARY_DIRECTORY / words[0])
    return await asyncio.create_subprocess_exec(
        program, *words[1:], env=environment, cwd=place, stdout=PIPE, stderr=STDOUT
    )


async def run_image_command(
    words: list[str], environment: Mapping[str, str], place: Path
) -> tuple[int | None, str]:
    """The exit code and everything that was printed."""
    process = await start_image_command(words, environment, place)
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
