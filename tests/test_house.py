"""The rules of the house that a program can check; CONTRIBUTING.md lists them."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "app").rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}
BOUNDARY = "app/core/db/_sessions.py"
SQL_VERBS = {"select", "insert", "update", "delete", "text"}
SQL_PLACES = re.compile(
    r"app/(.+/(repository|models)|core/(db/_(listing|list_repository|keyset|repository|statements|models"
    r"|arrays|constraints|embedded_list|embedded_row|embedding|links|page_rows|selection"
    r"|schema_version)|jobs|idempotency))\.py"
)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_nobody_but_the_transaction_boundary_commits() -> None:
    commits = [
        f"{path}:{call.lineno}"
        for path, tree in TREES.items()
        for call in calls(tree)
        if called(call).endswith((".commit", ".begin"))
    ]
    assert {place.split(":")[0] for place in commits} == {"app/core/db/_database.py", BOUNDARY}


def test_only_repositories_and_models_speak_sql() -> None:
    elsewhere = [
        f"{path}:{call.lineno} {called(call)}"
        for path, tree in TREES.items()
        if not SQL_PLACES.fullmatch(path)
        for call in calls(tree)
        if called(call).removeprefix("sa.") in SQL_VERBS or called(call).endswith(".execute")
    ]
    # The boundary executes what it is given; it writes no SQL of its own.
    assert {place.split(":")[0] for place in elsewhere} == {BOUNDARY}
    assert all(place.endswith(".execute") for place in elsewhere)


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path in SOURCES])
def test_files_and_functions_stay_small(path: str) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 250
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 40, f"{path}:{node.name}"


def test_every_module_says_what_it_is_for() -> None:
    empty = {path for path, tree in TREES.items() if not tree.body}
    assert {path.rsplit("/", 1)[1] for path in empty} == {"__init__.py"}
    assert all(ast.get_docstring(tree) for path, tree in TREES.items() if path not in empty)


def test_every_package_of_core_has_a_contract_that_its_modules_are_private() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    protected = {name for contract in contracts for name in contract.get("protected_modules", ())}
    packages = [path.parent.name for path in (ROOT / "app" / "core").glob("*/__init__.py")]
    assert packages
    for package in packages:
        assert f"app.core.{package}.*" in protected, f"add a contract for app.core.{package}"
        private = (ROOT / "app" / "core" / package).glob("*.py")
        assert all(path.name.startswith("_") for path in private), package
        interface = TREES[f"app/core/{package}/__init__.py"]
        assert "__all__" in ast.dump(interface), f"app.core.{package} has no __all__"


def test_no_contract_allows_indirect_imports() -> None:
    assert "allow_indirect_imports" not in (ROOT / "pyproject.toml").read_text()


def test_migrations_never_import_the_models() -> None:
    for revision in (ROOT / "migrations" / "versions").glob("*.py"):
        assert not re.search(r"^\s*(from|import) app\b", revision.read_text(), re.MULTILINE)


def test_no_committed_file_names_a_package_registry() -> None:
    clients = ("tests/clients/requirements.txt", "tests/clients/package.json")
    peers = ("benchmarks/requirements.in", "benchmarks/requirements.txt")
    ours = ("requirements.txt", "requirements-dev.txt", "pyproject.toml", "Makefile")
    for name in (*ours, *clients, *peers):
        assert not re.search(
            r"https?://|--(extra-)?index-url|find-links", (ROOT / name).read_text()
        )
    for place in ("tests/clients", "benchmarks/peers/fastify"):
        assert '"resolved"' not in (ROOT / place / "package-lock.json").read_text()
