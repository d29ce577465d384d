"""Clients generated from `openapi.json` compile, and go through the running service with success.

`make clients`. Python's always; TypeScript's where there is node, and it says when it is left out.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import run_command, running_server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "openapi.json"
GENERATED = HERE / "generated"
PROGRAMS = ROOT / ".venv-clients" / "bin"
EMAIL, PASSWORD = "admin@example.com", "correct horse"


def run(*command: str | Path, **environment: str) -> None:
    print(*command, flush=True)
    subprocess.run(command, cwd=HERE, env={**os.environ, **environment}, check=True)


def python() -> list[str | Path]:
    """Generate the client and check it; what goes through the service with it."""
    package = GENERATED / "bookshelf_client"
    generator = PROGRAMS / "openapi-python-client"
    run(
        *(generator, "generate", "--path", DOCUMENT, "--output-path", package, "--overwrite"),
        *("--meta", "none", "--config", "generator.yaml", "--fail-on-warning"),
    )
    run(
        *(PROGRAMS / "mypy", "--strict", "--config-file=", "--explicit-package-bases"),
        *("scenario.py", package),
        MYPYPATH=f"{GENERATED}:{HERE}",
    )
    return [PROGRAMS / "python", "scenario.py"]


def typescript() -> list[str | Path]:
    binaries = HERE / "node_modules" / ".bin"
    run("npm", "ci", "--silent")
    run(binaries / "openapi-typescript", DOCUMENT, "--output", GENERATED / "schema.d.ts")
    run(binaries / "tsc")
    return ["node", GENERATED / "scenario.js"]


async def main() -> None:
    scenarios = [python()]
    if shutil.which("npm"):
        scenarios.append(typescript())
    else:
        print("There is no node here: TypeScript is left out.")
    with TemporaryDirectory() as data:
        environment = {"DATA_DIR": data, "ANONYMOUS_ACCESS": "read"}
        async with running_server("--migrate", **environment) as (_, origin):
            admin = ("users", "create-admin", EMAIL)
            made = await run_command(*admin, input=f"{PASSWORD}\n".encode(), **environment)
            assert made.exit_code == 0, made.stderr
            for scenario in scenarios:
                run(*scenario, origin, EMAIL, PASSWORD, PYTHONPATH=str(GENERATED))
    print("The clients compile and do what they should.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {error.cmd[0]}")
