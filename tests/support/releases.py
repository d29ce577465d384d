"""The code of the last release, from the history of the repository."""

import importlib.util
import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.processes import PROJECT_ROOT

# Each release copies the OpenAPI document to this file, so its last change is in a released commit.
RELEASED_DOCUMENT = "checks/released.json"
# The newest revision of the last release, for example "0005".
[RELEASED_REVISION] = re.findall(
    r"^RELEASED := (\w+)$", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE
)
# Release 0.1 formats its log with structlog, which is no longer installed.
STRUCTLOG = {
    "processors": "format_exc_info = None",
    "stdlib": """
import logging

class ExtraAdder:
    def __init__(self, *_): pass

class ProcessorFormatter(logging.Formatter):
    remove_processors_meta = None
    def __init__(self, **_): super().__init__()
""",
    "typing": "EventDict = dict",
}


def extract_last_release(directory: Path) -> Path:
    """Write the code of the last release to a directory, and return it.

    Skips the test if there is no Git repository with the commit of the release.
    """
    commit = _find_release()
    archive = _git("archive", "--format=tar", commit, "app", "migrations", "alembic.ini")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(directory, filter="data")
    if importlib.util.find_spec("structlog") is None:
        package = directory / "structlog"
        package.mkdir()
        for name, code in {"__init__": "", **STRUCTLOG}.items():
            (package / f"{name}.py").write_text(code)
    return directory


def _find_release() -> str:
    """Return the commit of the last release, or skip the test."""
    if shutil.which("git") is None or not (PROJECT_ROOT / ".git").exists():
        pytest.skip("There is no Git repository")
    if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        pytest.skip("The clone is shallow: the commit of the last release is missing")
    commit = _git("log", "-1", "--format=%H", "--", RELEASED_DOCUMENT).decode().strip()
    paths = _git("ls-tree", "--name-only", commit or "HEAD", "migrations/versions/").decode()
    revisions = re.findall(r"-(\w+?)_\w+\.py$", paths, re.MULTILINE)
    # The history of a copy of the project may begin after the release.
    if max(revisions, default="") != RELEASED_REVISION:
        pytest.skip(f"The history has no commit whose newest revision is {RELEASED_REVISION}")
    return commit


def _git(*words: str) -> bytes:
    """Return the output of a Git command in the repository of the project."""
    command = ["git", "-c", "safe.directory=*", *words]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, check=True).stdout
