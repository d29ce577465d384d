"""Install pinned packages into a virtual environment.

The packages are installed with uv if it is on the PATH, and otherwise with pip:

    python3 tools/install.py [--exact] .venv requirements-dev.txt

With `--exact`, other packages are removed. The environment is created if it does not exist, was
moved, has another Python now, or if an earlier installation was interrupted.

`make` runs this file before any package is installed, so it needs nothing but Python.
"""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

IDENTITY: Final = Path(__file__).with_name("identity.py")
PIP_OPTIONS: Final = ("--disable-pip-version-check", "--require-hashes")


class Environment:
    """A virtual environment in a directory such as `.venv`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.python = directory / "bin" / "python"
        # Contains the output of `identity.py`. It does not exist while packages are installed.
        self.identity_file = directory / "identity"

    def is_usable(self) -> bool:
        """Return whether the environment exists, is complete, and was neither moved nor changed."""
        if not self.identity_file.exists() or not os.access(self.python, os.X_OK):
            return False
        return self.identity_file.read_text() == self.read_identity()

    def read_identity(self) -> str:
        """Return the directory and the version of Python, or an empty text if Python fails."""
        command = [str(self.python), "-I", str(IDENTITY)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def create(self, *, with_pip: bool) -> None:
        """Create the environment, and delete what was in its directory."""
        options = ["--clear"] if with_pip else ["--clear", "--without-pip"]
        command = [sys.executable, "-m", "venv", *options, str(self.directory)]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(f"{self.directory} could not be created with {sys.executable}.")

    def has_package(self, name: str) -> bool:
        """Return whether a package can be imported."""
        command = [str(self.python), "-I", "-c", f"import {name}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def list_packages(self) -> set[str]:
        """Return the normalized names of the packages, for example `{"email-validator", "pip"}`."""
        directories = self.directory.glob("lib/python*/site-packages/*.dist-info")
        return {normalize(path.name.partition("-")[0]) for path in directories}


def main() -> None:
    """Install the packages that the arguments of the process name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--exact", action="store_true", help="Remove all other packages.")
    parser.add_argument("environment", type=Path)
    parser.add_argument("requirements", type=Path)
    arguments = parser.parse_args()
    with run_alone():
        install(Environment(arguments.environment), arguments.requirements, exact=arguments.exact)


@contextmanager
def run_alone() -> Iterator[None]:
    """Lock this file, so that a second `make` waits until the first one has installed its packages.

    `make run` and `make test` install different files, but into the same environment.
    """
    with Path(__file__).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another process that installs packages.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(environment: Environment, requirements: Path, *, exact: bool) -> None:
    """Install the packages of a requirements file. Ends the program if that fails."""
    uv = shutil.which("uv")
    if not environment.is_usable():
        environment.create(with_pip=uv is None)
    identity = environment.read_identity()
    # If the computer stops now, the next run starts again with an empty environment.
    environment.identity_file.unlink(missing_ok=True)

    started_at = monotonic()
    succeeded = uv is not None and install_with_uv(uv, environment, requirements, exact=exact)
    if not succeeded:
        succeeded = install_with_pip(environment, requirements, exact=exact)

    # uv and pip download everything before they change anything, so the environment is usable even
    # if they have failed.
    environment.identity_file.write_text(identity)
    if not succeeded:
        sys.exit(
            f"The packages of {requirements} were not installed, because of the error above. Check"
            " the connection to the package index, and run make again."
        )
    print(f"Installed in {monotonic() - started_at:.0f} seconds.", flush=True)


def install_with_uv(uv: str, environment: Environment, requirements: Path, *, exact: bool) -> bool:
    """Install packages with uv. Return whether it has succeeded."""
    announce(environment, requirements, "uv, which takes a few seconds")
    command = ["sync"] if exact else ["install", "-r"]
    # With this value of --project, uv ignores the constraints in pyproject.toml, which apply to one
    # environment only.
    options = ["--project=/", f"--python={environment.python}", "--require-hashes"]
    return run(uv, "pip", *command, str(requirements), *options, *choose_verbosity())


def install_with_pip(environment: Environment, requirements: Path, *, exact: bool) -> bool:
    """Install packages with pip. Return whether it has succeeded."""
    announce(environment, requirements, "pip, which may take minutes (uv takes seconds)")
    python = str(environment.python)
    # uv has created the environment without pip, and then failed or was removed.
    if not environment.has_package("pip") and not run(python, "-m", "ensurepip"):
        return False
    options = [*PIP_OPTIONS, *choose_verbosity()]
    if not run(python, "-m", "pip", "install", *options, "-r", str(requirements)):
        return False
    unpinned_packages = (
        environment.list_packages() - read_names(requirements) - {"pip", "setuptools"}
    )
    if not exact or not unpinned_packages:
        return True
    return run(python, "-m", "pip", "uninstall", "--quiet", "--yes", *sorted(unpinned_packages))


def announce(environment: Environment, requirements: Path, program: str) -> None:
    """Print what is installed, and how long that takes."""
    count = len(read_names(requirements))
    packages = f"the {count} packages of {requirements}"
    print(f"Installing {packages} into {environment.directory} with {program}.", flush=True)


def choose_verbosity() -> list[str]:
    """Return options so that progress bars are shown, but only in a terminal."""
    return [] if sys.stdout.isatty() else ["--quiet"]


def read_names(requirements: Path) -> set[str]:
    """Return the names of the packages in a requirements file: `{"alembic", ...}`."""
    pins = re.findall(r"^([\w.-]+)==", requirements.read_text(), re.MULTILINE)
    return {normalize(name) for name in pins}


def normalize(name: str) -> str:
    """Return the form in which two spellings of a package's name are equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(*command: str) -> bool:
    """Run a program, and return whether it has succeeded."""
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("The installation was interrupted.")
