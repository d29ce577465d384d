"""Generated clients in Python and TypeScript: how to generate, compile and run each of them."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.clients.sections import Section, read_sections
from tests.support.processes import PROJECT_ROOT

DIRECTORY = Path(__file__).parent
ADAPTERS = DIRECTORY / "adapters"
GENERATED = DIRECTORY / "generated"
DOCUMENT = PROJECT_ROOT / "openapi.json"
# The programs of the environment that `make clients` creates. They include node and npm.
PROGRAMS = PROJECT_ROOT / ".venv-clients" / "bin"
ORIGIN_IN_PAGE = "http://127.0.0.1:8000"


class CommandFailed(Exception):
    """A command has failed. The message contains the command and its output."""


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str]) -> None:
    """Run a program of the environment. Raises `CommandFailed` if it fails."""
    variables = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **environment}
    result = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise CommandFailed(f"$ {words}\n{result.stdout}{result.stderr}")


class GeneratedClient:
    """A client in a directory of its own, with the files that its section of the page shows."""

    def __init__(self, section: Section, adapter: Path) -> None:
        self.name = section.name
        self.section = section
        self.adapter = adapter
        self.directory = GENERATED / section.name

    def run(self, *command: str | Path) -> None:
        """Run a command in the directory of the client."""
        environment = {"PYTHONPATH": f"{self.directory}:{DIRECTORY}"}
        run(*command, cwd=self.directory, environment=environment)

    def generate(self, origin: str) -> None:
        """Write the files of the section, and run its commands."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        shutil.copy(DOCUMENT, self.directory)
        for name, text in self.section.files.items():
            (self.directory / name).write_text(text.replace(ORIGIN_IN_PAGE, origin))
        for command in self.section.commands:
            self.run("bash", "-euo", "pipefail", "-c", command)

    def compile(self) -> None:
        """Check the types of the client, of its example and of its adapter."""
        raise NotImplementedError

    def use(self, *scenario_arguments: str) -> None:
        """Run the example and the scenario. Each of them fails if a response is unexpected."""
        raise NotImplementedError


class PythonClient(GeneratedClient):
    def compile(self) -> None:
        options = ("--strict", "--config-file=", "--explicit-package-bases")
        environment = {"MYPYPATH": f"{self.directory}:{DIRECTORY}"}
        command = ("mypy", *options, self.adapter, self.directory)
        run(*command, cwd=DIRECTORY, environment=environment)

    def use(self, *scenario_arguments: str) -> None:
        if "example.py" in self.section.files:
            self.run("python", "example.py")
        self.run("python", "-m", f"adapters.{self.adapter.stem}", *scenario_arguments)


class TypeScriptClient(GeneratedClient):
    def compile(self) -> None:
        adapter = os.path.relpath(self.adapter, self.directory)
        options = {"extends": "../../tsconfig.json", "include": ["**/*.ts", adapter]}
        (self.directory / "tsconfig.json").write_text(json.dumps(options))
        self.run("npx", "tsc", "--outDir", "js", "--rootDir", DIRECTORY)

    def use(self, *scenario_arguments: str) -> None:
        compiled = self.directory / "js"
        if "example.ts" in self.section.files:
            example = self.directory.relative_to(DIRECTORY) / "example.js"
            self.run("node", compiled / example)
        self.run("node", compiled / "adapters" / f"{self.name}.js", *scenario_arguments)


def find_clients() -> list[GeneratedClient]:
    """Return the client of each section of the page that has an adapter of its name."""
    clients: list[GeneratedClient] = []
    for section in read_sections():
        python_adapter = ADAPTERS / f"{section.name.replace('-', '_')}.py"
        typescript_adapter = ADAPTERS / f"{section.name}.ts"
        if python_adapter.exists():
            clients.append(PythonClient(section, python_adapter))
        elif typescript_adapter.exists():
            clients.append(TypeScriptClient(section, typescript_adapter))
    return clients
