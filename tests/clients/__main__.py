"""Generate clients from `openapi.json`, compile them, and run a scenario with each.

The Python client is always tested, the TypeScript client only if npm is installed. Run it with
`make clients`.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import PROJECT_ROOT, run_command, running_server

DIRECTORY = Path(__file__).parent
DOCUMENT = PROJECT_ROOT / "openapi.json"
GENERATED = DIRECTORY / "generated"
# The programs of the virtual environment that `make clients` creates.
PROGRAMS = PROJECT_ROOT / ".venv-clients" / "bin"
EMAIL = "admin@example.com"
PASSWORD = "correct horse"

Command = list[str | Path]


def run(*command: str | Path, **environment: str) -> None:
    """Print and run a command. Raises `CalledProcessError` if it fails."""
    print(*command, flush=True)
    subprocess.run(command, cwd=DIRECTORY, env={**os.environ, **environment}, check=True)


def build_python_client() -> Command:
    """Generate and type-check the Python client. Return the command that runs the scenario."""
    package = GENERATED / "bookshelf_client"
    run(
        PROGRAMS / "openapi-python-client",
        "generate",
        *("--path", DOCUMENT),
        *("--output-path", package),
        "--overwrite",
        *("--meta", "none"),
        *("--config", "generator.yaml"),
        "--fail-on-warning",
    )
    run(
        PROGRAMS / "mypy",
        "--strict",
        "--config-file=",
        "--explicit-package-bases",
        "scenario.py",
        package,
        MYPYPATH=f"{GENERATED}:{DIRECTORY}",
    )
    return [PROGRAMS / "python", "scenario.py"]


def build_typescript_client() -> Command:
    """Generate and compile the TypeScript client. Return the command that runs the scenario."""
    programs = DIRECTORY / "node_modules" / ".bin"
    run("npm", "ci", "--silent")
    run(programs / "openapi-typescript", DOCUMENT, "--output", GENERATED / "schema.d.ts")
    run(programs / "tsc")
    return ["node", GENERATED / "scenario.js"]


async def main() -> None:
    """Build the clients, start a service with an administrator, and run each scenario."""
    scenarios = [build_python_client()]
    if shutil.which("npm"):
        scenarios.append(build_typescript_client())
    else:
        print("npm is not installed: the TypeScript client is not tested.")
    with TemporaryDirectory() as data_directory:
        environment = {"DATA_DIR": data_directory, "ANONYMOUS_ACCESS": "read"}
        async with running_server("--migrate", **environment) as (_, origin):
            create_admin = ("users", "create-admin", EMAIL)
            result = await run_command(*create_admin, input=f"{PASSWORD}\n".encode(), **environment)
            assert result.exit_code == 0, result.stderr
            for scenario in scenarios:
                run(*scenario, origin, EMAIL, PASSWORD, PYTHONPATH=str(GENERATED))
    print("The clients compile, and their scenarios passed.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {error.cmd[0]}")
