"""Follow docs/adding-an-entity.md in a copy of the repository, and test the result.

The page begins with the entities of the reference service. Remove both once yours has moved on.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PROJECT_ROOT
from tests.support.tutorial_page import Step, apply_changes, sections
from tools.repository import list_files

# The headings of the sections with steps to follow.
PLAIN, OPTIONAL, MANY = list(sections())[:3]
RESULT = PROJECT_ROOT / "tests" / "tools" / "page_result.py"
# Test files that have cases for every entity in tests/support/entities.py.
GENERIC = ("lists", "plans", "statements", "streams")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (PROJECT_ROOT / "app" / "publishers").exists() or (PROJECT_ROOT / "app" / "tags").exists(),
        reason="the entities of the page have been added already",
    ),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the whole page has been followed."""
    copy = tmp_path_factory.mktemp("adding") / "repository"
    for path in list_files():
        target = copy / path.relative_to(PROJECT_ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    (copy / ".venv").symlink_to(sys.prefix)
    for heading in (PLAIN, OPTIONAL, MANY):
        for step in sections()[heading]:
            follow(step, copy)
    shutil.copy(RESULT, copy / "tests" / "test_page_result.py")
    return copy


def follow(step: Step, copy: Path) -> None:
    """Apply a change, or run commands, except the checks and tests of the whole repository."""
    if step.language == "diff":
        apply_changes(step.text, copy)
        return
    for command in step.text.splitlines():
        # The tests below run the checks and tests that are of interest here.
        if command != "make check test":
            # `-o` keeps make from building a virtual environment.
            run(
                copy,
                "bash",
                "-c",
                command.replace("make ", "make -o .venv/ready -o .venv/run-ready ", 1),
            )


def run(copy: Path, *command: str) -> str:
    # Without these variables, the tests of the copy start their own servers.
    removed = ("PYTEST", "TEST_")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(removed)
    }
    process = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, f"{' '.join(command)}\n{process.stdout}{process.stderr}"
    return process.stdout


def run_module(copy: Path, module: str, *arguments: str) -> str:
    return run(copy, sys.executable, "-m", module, *arguments)


def test_page_shows_every_step_in_order() -> None:
    commands = [
        command
        for heading in (PLAIN, OPTIONAL, MANY)
        for step in sections()[heading]
        if step.language == "bash"
        for command in step.text.splitlines()
    ]
    assert commands == [
        "make entity NAME=publisher",
        'make revision MESSAGE="create publishers"',
        "make openapi",
        "make check test",
        'make revision MESSAGE="add the publisher of books"',
        "make openapi",
        "make entity NAME=tag",
        'make revision MESSAGE="create the tags of books"',
        "make openapi",
    ]


def test_result_passes_the_checks_of_the_repository(repository: Path) -> None:
    run_module(repository, "ruff", "format", "--check", ".")
    run_module(repository, "ruff", "check", ".")
    run_module(repository, "mypy", "app", "tests/publishers", "tests/tags")
    run_module(repository, "checks.openapi")
    run_module(repository, "checks.migrations", "0005")
    run(repository, ".venv/bin/lint-imports", "--no-cache")


def test_result_passes_its_own_tests(repository: Path) -> None:
    tests = (
        "test_page_result.py",
        "publishers",
        "tags",
        "test_entities.py",
        "test_migrations.py::test_all_revisions_can_be_downgraded_and_upgraded",
        "test_migrations.py::test_models_and_migrations_agree",
        "test_migrations.py::test_order_of_migration_files_by_name_is_their_order_by_down_revision",
    )
    run_module(repository, "pytest", "-q", *(f"tests/{name}" for name in tests))


def test_result_is_covered_by_the_tests_of_every_entity(repository: Path) -> None:
    files = [f"tests/core/test_{name}.py" for name in GENERIC]
    cases = "publishers or publisher or tags or tag"
    output = run_module(repository, "pytest", "-q", *files, "tests/test_access.py", "-k", cases)
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) > 100
