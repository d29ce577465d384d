"""Run the tests on every installed Python that the service supports.

    python3 tools/pythons.py [VERSION ...]        for example 3.12 3.14

Looks for programs such as `python3.12` on the PATH, and for those that pyenv and uv have installed.
Each gets an environment of its own, such as `.venv-3.12`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SUPPORTED_VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")


def main() -> int:
    """Run `make test-all` for each version. Return 1 if tests have failed, or if none were run."""
    results = {version: test(version) for version in sys.argv[1:] or SUPPORTED_VERSIONS}
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return int("failed" in results.values() or "passed" not in results.values())


def test(version: str) -> str:
    """Run the tests on a version such as "3.12". Return "passed", "failed" or "not installed"."""
    python = next(find_interpreters(version), None)
    if python is None:
        return "not installed"
    command = ["make", "test-all", f"VENV=.venv-{version}", f"PYTHON={python}"]
    if subprocess.run(command, check=False).returncode != 0:
        return "failed"
    return "passed"


def find_interpreters(version: str) -> Iterator[str]:
    """Yield the paths of the programs that are Python of a version, such as "3.12"."""
    for path in list_candidates(version):
        # The programs of pyenv on the PATH fail if a version is installed but not selected.
        command = [path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.stdout.strip() == version:
            yield path


def list_candidates(version: str) -> Iterator[str]:
    """Yield paths of programs that may be Python of a version, such as "3.12"."""
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")))
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "python", "find", "--no-project", version]
        yield from subprocess.run(
            command, capture_output=True, text=True, check=False
        ).stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
