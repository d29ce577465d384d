"""Names, comments and documents follow the rules of CONTRIBUTING.md that a program can check."""

import ast
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.language import (
    Module,
    name_violations,
    note_violations,
    odd_words,
    statement_violations,
)
from tests.support.processes import PROJECT_ROOT

PACKAGES = ("app", "benchmarks", "checks", "drills", "migrations", "tests", "tools")
GENERATED = {"generated", "node_modules"}
# Modules that contain the words because they forbid them.
EXCEPTIONS = {"tests/support/language.py", "tests/test_language.py"}
TEXTS = (
    *PROJECT_ROOT.glob("*.md"),
    *(PROJECT_ROOT / "docs").rglob("*.md"),
    PROJECT_ROOT / "deploy" / "README.md",
    PROJECT_ROOT / ".env.example",
    PROJECT_ROOT / "Makefile",
)
# Per 1,000 lines of code, as in the codebases that are pleasant to read.
MAX_WALRUSES = 1
MAX_CONDITIONAL_EXPRESSIONS = 5

Check = Callable[[Module], Iterator[str]]
every_package = pytest.mark.parametrize("package", PACKAGES)


@cache
def read_modules(package: str) -> list[Module]:
    """Read the modules of a package that people write."""
    modules = []
    for path in (PROJECT_ROOT / package).rglob("*.py"):
        name = path.relative_to(PROJECT_ROOT).as_posix()
        if not GENERATED & set(path.parts) and name not in EXCEPTIONS:
            modules.append(Module(name, path.read_text()))
    return modules


@every_package
@pytest.mark.parametrize("check", [note_violations, name_violations, statement_violations])
def test_package_follows_rules(check: Check, package: str) -> None:
    violations = [line for module in read_modules(package) for line in check(module)]
    assert not violations, "\n".join(violations)


@every_package
def test_expressions_are_not_dense(package: str) -> None:
    line_count = 0
    walruses = 0
    conditionals = 0
    for module in read_modules(package):
        line_count += len(module.text.splitlines())
        walruses += sum(isinstance(node, ast.NamedExpr) for node in module.nodes)
        conditionals += sum(isinstance(node, ast.IfExp) for node in module.nodes)
    assert walruses <= MAX_WALRUSES * line_count / 1000, f"{walruses} walruses: assign, then test"
    limit = MAX_CONDITIONAL_EXPRESSIONS * line_count / 1000
    assert conditionals <= limit, f"{conditionals} conditional expressions: use an if statement"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(PROJECT_ROOT).as_posix())
def test_documents_use_standard_terms(path: Path) -> None:
    violations = [
        f"{path.name}:{number} {violation}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for violation in odd_words(line)
    ]
    assert not violations, "\n".join(violations)


def test_texts_of_the_openapi_document_use_standard_terms() -> None:
    violations = list(odd_words((PROJECT_ROOT / "openapi.json").read_text()))
    assert not violations, "\n".join(violations)


def texts_in(node: Any) -> Iterator[str]:
    """Yield every description, and every detail of a problem, in a part of the OpenAPI document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"description", "detail"} and isinstance(value, str):
                yield value
            yield from texts_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts_in(value)


def test_texts_of_the_openapi_document_are_punctuated_alike() -> None:
    """A phrase such as "Name of the author" may lack a period. Several sentences end with one."""
    document = json.loads((PROJECT_ROOT / "openapi.json").read_text())
    texts = {
        text for text in texts_in(document) if ". " in text and not text.rstrip().endswith(".")
    }
    assert not texts, "\n".join(sorted(texts))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("The answer is stored.", "response"),
        ("Whoever logs in", "name the person"),
        ("A token is no secret", "is not a"),
    ],
)
def test_odd_word_is_reported_with_a_replacement(text: str, advice: str) -> None:
    (violation,) = odd_words(text)
    assert advice in violation


@pytest.mark.parametrize("text", ["There is no such row.", "It is no longer used.", "the client"])
def test_plain_words_are_not_reported(text: str) -> None:
    assert not list(odd_words(text))


@pytest.mark.parametrize(
    ("check", "text", "advice"),
    [
        (note_violations, "# What the caller wants.\n", "begin with"),
        (note_violations, "# It stores\n# the answer.\n", "response"),
        (note_violations, 'def f():\n    """Whether it\n    works."""\n', "begin with"),
        (note_violations, '"""A token is\nno secret."""\n', "is not a"),
        (name_violations, "found = 1\n", "name what it is"),
        (name_violations, "self._given = 1\n", "name what it is"),
        (name_violations, "def f(told): pass\n", "name what it is"),
        (statement_violations, "self.a, self.b = a, b\n", "one attribute"),
    ],
)
def test_violation_is_reported_with_advice(check: Check, text: str, advice: str) -> None:
    (violation,) = check(Module("app/example.py", text))
    assert violation.startswith("app/example.py:")
    assert advice in violation
