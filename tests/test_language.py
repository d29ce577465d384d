"""Names, comments and documents follow the rules of CONTRIBUTING.md that a program can check."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.language import name_violations, odd_words, statement_violations, text_violations
from tests.support.processes import ROOT

PACKAGES = ("app", "benchmarks", "checks", "migrations", "tests", "tools")
GENERATED = {"generated", "node_modules"}
# Files that contain the words because they forbid them.
EXCEPTIONS = {ROOT / "tests" / "support" / "language.py", ROOT / "tests" / "test_language.py"}
TEXTS = (
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / ".env.example",
    ROOT / "Makefile",
)
# Per 1,000 lines of code, as in the codebases that are pleasant to read.
MAX_WALRUSES = 1
MAX_CONDITIONAL_EXPRESSIONS = 5


def python_files(package: str) -> list[Path]:
    files = (ROOT / package).rglob("*.py")
    return [path for path in files if not GENERATED & set(path.parts) and path not in EXCEPTIONS]


def count(nodes: Iterable[ast.AST], kind: type[ast.AST]) -> int:
    return sum(isinstance(node, kind) for node in nodes)


every_package = pytest.mark.parametrize("package", PACKAGES)


@every_package
def test_comments_and_docstrings_are_plain_sentences(package: str) -> None:
    violations = [line for path in python_files(package) for line in text_violations(path)]
    assert not violations, "\n".join(violations)


@every_package
def test_names_say_what_they_name(package: str) -> None:
    violations = [line for path in python_files(package) for line in name_violations(path)]
    assert not violations, "\n".join(violations)


@every_package
def test_a_statement_assigns_one_attribute(package: str) -> None:
    violations = [line for path in python_files(package) for line in statement_violations(path)]
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_use_standard_terms(path: Path) -> None:
    violations = [
        f"{path.name}:{number} {violation}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for violation in odd_words(line)
    ]
    assert not violations, "\n".join(violations)


def test_texts_of_the_openapi_document_use_standard_terms() -> None:
    violations = list(odd_words((ROOT / "openapi.json").read_text()))
    assert not violations, "\n".join(violations)


@every_package
def test_expressions_are_not_dense(package: str) -> None:
    lines, walruses, conditionals = 0, 0, 0
    for path in python_files(package):
        text = path.read_text()
        nodes = list(ast.walk(ast.parse(text)))
        lines += len(text.splitlines())
        walruses += count(nodes, ast.NamedExpr)
        conditionals += count(nodes, ast.IfExp)
    assert walruses <= MAX_WALRUSES * lines / 1000, f"{walruses} walruses: assign, then test"
    limit = MAX_CONDITIONAL_EXPRESSIONS * lines / 1000
    assert conditionals <= limit, f"{conditionals} conditional expressions: use an if statement"


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
