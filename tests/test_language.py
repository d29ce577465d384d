"""Names, comments and documents follow the rules of CONTRIBUTING.md that a program can check."""

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.language import name_violations, odd_words, statement_violations, text_violations
from tests.support.processes import PROJECT_ROOT

PACKAGES = ("app", "benchmarks", "checks", "migrations", "tests", "tools")
GENERATED = {"generated", "node_modules"}
# Files that contain the words because they forbid them.
EXCEPTIONS = {
    PROJECT_ROOT / "tests" / "support" / "language.py",
    PROJECT_ROOT / "tests" / "test_language.py",
}
TEXTS = (
    *PROJECT_ROOT.glob("*.md"),
    *(PROJECT_ROOT / "docs").rglob("*.md"),
    PROJECT_ROOT / ".env.example",
    PROJECT_ROOT / "Makefile",
)
# Per 1,000 lines of code, as in the codebases that are pleasant to read.
MAX_WALRUSES = 1
MAX_CONDITIONAL_EXPRESSIONS = 5


def python_files(package: str) -> list[Path]:
    files = (PROJECT_ROOT / package).rglob("*.py")
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
