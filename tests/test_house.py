"""Checks the rules of CONTRIBUTING.md that a program can check."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "app").rglob("*.py"))
# The syntax tree of each module of the application: {"app/main.py": ...}.
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}
# The module whose sessions begin and commit transactions and execute statements.
SESSIONS = "app/core/db/_sessions.py"
SQL_FUNCTIONS = {"select", "insert", "update", "delete", "text"}
# Repositories, models, and the modules of core that contain statements.
MODULES_WITH_SQL = re.compile(
    r"app/(.+/(_?([a-z]+_)*repository|models)|users/(attempt_counters|login_attempts)"
    r"|core/(jobs|idempotency"
    r"|db/_(folded_text|batch_executor|batches|connector|deletions|dependents|table_scans"
    r"|listing|list_repository|list_totals|keyset|repository|statements|models|arrays"
    r"|embedded_list|embedded_row|embedding|links|missing_rows|page_rows|selection"
    r"|schema_version)))\.py"
)
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
# Files that list dependencies.
DEPENDENCY_FILES = (
    "requirements.txt",
    "requirements-embedded.txt",
    "requirements-dev.txt",
    "pyproject.toml",
    "Makefile",
    "tests/clients/requirements.txt",
    "tests/clients/package.json",
    "checks/openapi_lint/package.json",
    "benchmarks/requirements.in",
    "benchmarks/requirements.txt",
    "drills/requirements.in",
    "drills/requirements.txt",
)
LOCK_FILES = (
    "tests/clients/package-lock.json",
    "checks/openapi_lint/package-lock.json",
    "benchmarks/peers/fastify/package-lock.json",
)


def find_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line number and the called function of each call: `(12, "session.commit")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_only_sessions_commit_transactions() -> None:
    modules = set()
    for path, tree in TREES.items():
        for _line, function in find_calls(tree):
            if function.endswith((".commit", ".begin")):
                modules.add(path)
    assert modules == {"app/core/db/_database.py", SESSIONS}


def test_only_repositories_and_models_contain_sql() -> None:
    calls = set()
    for path, tree in TREES.items():
        if MODULES_WITH_SQL.fullmatch(path):
            continue
        for _line, function in find_calls(tree):
            is_sql_function = function.removeprefix("sa.") in SQL_FUNCTIONS
            if is_sql_function or function.endswith(".execute"):
                calls.add((path, function.rpartition(".")[2]))
    # Sessions execute the statements of others and contain no SQL.
    assert calls == {(SESSIONS, "execute")}


@pytest.mark.parametrize("path", TREES)
def test_files_and_functions_stay_small(path: str) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            line_count = node.end_lineno - node.lineno + 1
            assert line_count <= MAX_FUNCTION_LINES, f"{path}:{node.name}"


def test_every_module_has_docstring() -> None:
    empty_modules = {path for path, tree in TREES.items() if not tree.body}
    assert {Path(path).name for path in empty_modules} == {"__init__.py"}
    for path, tree in TREES.items():
        if path not in empty_modules:
            assert ast.get_docstring(tree), path


def test_every_package_of_core_has_contract_that_its_modules_are_private() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    protected_modules: set[str] = set()
    for contract in project["tool"]["importlinter"]["contracts"]:
        protected_modules.update(contract.get("protected_modules", ()))
    packages = [path.parent for path in (ROOT / "app" / "core").glob("*/__init__.py")]
    assert packages
    for package in packages:
        dotted_name = f"app.core.{package.name}"
        assert f"{dotted_name}.*" in protected_modules, f"add a contract for {dotted_name}"
        assert all(path.name.startswith("_") for path in package.glob("*.py")), dotted_name
        interface = TREES[f"app/core/{package.name}/__init__.py"]
        assert "__all__" in ast.dump(interface), f"{dotted_name} has no __all__"


def test_no_contract_allows_indirect_imports() -> None:
    assert "allow_indirect_imports" not in (ROOT / "pyproject.toml").read_text()


def test_test_modules_do_not_import_each_other() -> None:
    importing_modules = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"^\s*(from|import) tests\b.*\btest_", path.read_text(), re.MULTILINE)
    ]
    assert not importing_modules, "move the shared code to tests/support"


def test_migrations_do_not_import_application() -> None:
    for revision in (ROOT / "migrations" / "versions").glob("*.py"):
        assert not re.search(r"^\s*(from|import) app\b", revision.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", DEPENDENCY_FILES)
def test_dependency_file_names_no_package_registry(path: str) -> None:
    registry = re.search(r"https?://|--(extra-)?index-url|find-links", (ROOT / path).read_text())
    assert registry is None


@pytest.mark.parametrize("path", LOCK_FILES)
def test_lock_file_names_no_package_registry(path: str) -> None:
    assert '"resolved"' not in (ROOT / path).read_text()
