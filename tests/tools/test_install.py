"""Tests of `make .venv/run-ready` and `make .venv/ready`, which install a small wheel with uv."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import PROJECT_ROOT

UV = Path(sys.executable).parent / "uv"
RUN, COMPLETE = ".venv/run-ready", ".venv/ready"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="needs make"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose commands need one package, and whose tests need another one."""
    root = tmp_path / "project"
    (root / "tools").mkdir(parents=True)
    for name in ("Makefile", "tools/install.py", "tools/identity.py"):
        shutil.copy(PROJECT_ROOT / name, root / name)
    runtime, linter = write_wheel(root, "runtime"), write_wheel(root, "linter")
    (root / "requirements-embedded.txt").write_text(runtime)
    (root / "requirements-dev.txt").write_text(linter + runtime)
    (root / "bin").mkdir()
    (root / "bin" / "uv").symlink_to(UV)
    return root


def write_wheel(root: Path, name: str) -> str:
    """Write a wheel with one module. Return the line of a requirements file that pins it."""
    info = f"{name}-1.0.dist-info"
    path = root / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def start_make(root: Path, target: str) -> subprocess.Popen[str]:
    """Start make, without an index."""
    environment = {
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "UV_FIND_LINKS": str(root),
        "UV_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        "UV_CACHE_DIR": str(root / "cache"),
    }
    command = ["make", target, f"PYTHON={sys.executable}"]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def make(root: Path, target: str) -> list[str]:
    """Run make. Return the installed requirements files."""
    with start_make(root, target) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    lines = output.splitlines()
    return [line.split()[5] for line in lines if line.startswith("Installing")]


def list_packages(root: Path) -> set[str]:
    return {path.stem for path in root.glob(".venv/lib/python*/site-packages/[lr]*.py")}


def test_run_installs_its_packages_and_test_adds_the_others_once(project: Path) -> None:
    assert make(project, RUN) == ["requirements-embedded.txt"]
    assert list_packages(project) == {"runtime"}
    assert make(project, COMPLETE) == ["requirements-dev.txt"]
    assert list_packages(project) == {"runtime", "linter"}
    assert make(project, RUN) == []
    assert make(project, COMPLETE) == []


def test_environment_is_created_again_after_the_project_was_moved(project: Path) -> None:
    make(project, RUN)
    moved = project.rename(project.with_name("moved"))
    assert make(moved, RUN) == ["requirements-embedded.txt"]
    assert (moved / ".venv" / "identity").read_text().startswith(f"{moved}/.venv ")


def test_environment_is_created_again_after_an_interrupted_installation(project: Path) -> None:
    make(project, RUN)
    (project / ".venv" / "identity").unlink()
    (partly_written,) = project.glob(".venv/lib/python*/site-packages/runtime.py")
    partly_written.unlink()
    assert make(project, RUN) == ["requirements-embedded.txt"]
    assert list_packages(project) == {"runtime"}


def test_package_that_is_no_longer_pinned_is_removed(project: Path) -> None:
    make(project, COMPLETE)
    requirements = project / "requirements-dev.txt"
    requirements.write_text((project / "requirements-embedded.txt").read_text())
    assert make(project, COMPLETE) == ["requirements-dev.txt"]
    assert list_packages(project) == {"runtime"}


def test_second_make_waits_until_the_first_has_installed_its_packages(project: Path) -> None:
    with (project / "tools" / "install.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start_make(project, RUN)
        with process:
            assert process.stdout
            assert process.stdout.readline().startswith("Waiting for another process")
            assert not (project / ".venv").exists()
            fcntl.flock(lock, fcntl.LOCK_UN)
            process.communicate()
    assert process.returncode == 0
    assert list_packages(project) == {"runtime"}
