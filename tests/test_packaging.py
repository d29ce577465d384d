"""Tests of the package that pip and uv build, and of the files that pin dependencies."""

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from app import NAME, __version__
from app.schema import alembic_config
from tests.support.processes import PROJECT_ROOT
from tools.constraints import read_pins
from tools.repository import list_files

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
PACKAGES = ("app", "migrations")
PRINT_HEADS = """
from alembic.script import ScriptDirectory
from app import schema

print(schema.__file__, ScriptDirectory.from_config(schema.alembic_config()).get_heads())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, which uv builds without a network, because it contains the build backend."""
    directory = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).parent / "uv"
    options = ("--quiet", "--offline", "--wheel", f"--out-dir={directory}")
    subprocess.run([str(uv), "build", *options, str(PROJECT_ROOT)], check=True)
    (path,) = directory.glob("*.whl")
    return path


def read_locked(name: str) -> dict[str, str]:
    """Return the pinned packages of a file, with their hashes: `{"alembic==1.20.1": "..."}`."""
    text = (PROJECT_ROOT / name).read_text()
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    return dict(entry.split(" \\\n", 1) for entry in entries)


def test_wheel_contains_every_file_of_its_packages(wheel: Path) -> None:
    paths = [path.relative_to(PROJECT_ROOT) for path in list_files()]
    expected = {path.as_posix() for path in paths if path.parts[0] in PACKAGES}
    assert {"app/users/common_passwords.txt", "app/books/catalog.csv"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_wheel_has_the_metadata_of_the_project(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        directory = f"{NAME}-{__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{directory}/METADATA").decode())
        scripts = archive.read(f"{directory}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"]) == (NAME, __version__)
    assert metadata.get_all("Provides-Extra") == ["embedded"]
    assert f"{NAME} = app.cli:main" in scripts


def test_installed_package_finds_its_migrations_without_alembic_ini(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-P", "-c", PRINT_HEADS]
    process = subprocess.run(
        command,
        cwd=tmp_path / "app",
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    heads = ScriptDirectory.from_config(alembic_config()).get_heads()
    assert process.stdout.decode() == f"{tmp_path}/app/schema.py {heads}\n"


def test_each_requirements_file_contains_the_smaller_ones() -> None:
    runtime = read_locked("requirements.txt")
    embedded = read_locked("requirements-embedded.txt")
    development = read_locked("requirements-dev.txt")
    assert runtime.items() < embedded.items() < development.items()


def test_embedded_servers_are_the_same_in_the_extra_and_in_the_group() -> None:
    extra = PROJECT["project"]["optional-dependencies"]["embedded"]
    assert PROJECT["dependency-groups"]["embedded"] == extra


def test_uv_sync_is_constrained_to_the_pinned_versions() -> None:
    pins = read_pins((PROJECT_ROOT / "requirements-dev.txt").read_text())
    assert PROJECT["tool"]["uv"]["constraint-dependencies"] == pins


def test_ci_runs_every_python_that_the_package_names() -> None:
    classifiers = "\n".join(PROJECT["project"]["classifiers"])
    named = set(re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE))
    workflow = (PROJECT_ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert set(re.findall(r'python: "(3\.\d+)", services', workflow)) == named
