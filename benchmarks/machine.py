"""Describes the machine and the versions of the software that is measured."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from app.embedded.postgresql import POSTGRES_VERSION
from benchmarks.contestants import FASTIFY_DIRECTORY, NODE, PEER_PYTHON

_PACKAGES: Final = (
    *("fastapi", "starlette", "pydantic", "sqlalchemy", "asyncpg", "uvicorn", "uvloop"),
    *("httptools", "advanced-alchemy", "litestar", "sqlmodel", "psycopg", "django", "django-ninja"),
)
_VERSIONS: Final = f"""
import importlib.metadata, json
print(json.dumps({{name: importlib.metadata.version(name) for name in {_PACKAGES}}}))
"""


def describe_environment() -> dict[str, Any]:
    """Return the date, a line about the machine, and the versions of packages."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {memory} GiB, {platform.system()}",
        "packages": {
            "Python": platform.python_version(),
            "Postgres": str(POSTGRES_VERSION),
            **_python_packages(),
            **_node_packages(),
        },
    }


def _processor() -> str:
    """Return the model of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _python_packages() -> dict[str, str]:
    """Return the versions of the packages in the virtual environment of the peers."""
    if not PEER_PYTHON.exists():
        return {}
    versions: dict[str, str] = json.loads(_run(str(PEER_PYTHON), "-c", _VERSIONS))
    return versions


def _node_packages() -> dict[str, str]:
    """Return the versions of Node and of the packages that the Fastify server uses."""
    if not (FASTIFY_DIRECTORY / "node_modules").exists():
        return {}
    packages = json.loads((FASTIFY_DIRECTORY / "package.json").read_text())["dependencies"]
    return {"Node": _run(NODE, "--version").strip().removeprefix("v"), **packages}


def _run(*command: str) -> str:
    """Run a command and return its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
