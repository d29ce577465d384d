"""Rules of CONTRIBUTING.md, "Language", that a program can check.

Each function returns one line per violation: the place, and what to write instead.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.processes import PROJECT_ROOT

# Names that do not say what they are a name of.
VAGUE_NAMES: Final = {
    "about", "anew", "asked", "found", "gave", "given", "given_", "gone", "heard", "kept",
    "known_as", "made", "noted", "others", "ours", "said", "spoken", "told", "wanted", "whose",
}  # fmt: skip
NAME_ADVICE: Final = "name what it is: row, rows, book, response, statement, user"

# A comment or docstring that opens with one of these words is a clause without a subject.
CLAUSE_OPENING: Final = re.compile(
    r"(Of|What|Who|Whoever|Whose|Whether|For|By|Not by|Not of|Here, for|Else|Nobody|Now|Before"
    r"|From)\b(?! default\b| example| instance| each\b| every\b| all\b| more\b| the\b| now on\b)"
)
OPENING_ADVICE: Final = "begin with a noun and a verb, or with an imperative"

# Words that a reader would not search for, and what to write instead.
ODD_WORDS: Final = {
    r"answer(s|ed|ing)?": "response, respond",
    "anew": "again",
    "at once": "immediately, or at the same time",
    "beside": "in addition to, next to, compared with",
    "good-bye": "shutdown, close",
    "(?-i:[Hh]e|his|him|[Ss]he|her)": "they, their, them",
    "kin": "and name the things",
    "last words": "shutdown delay",
    r"log-ins?": "login",
    r"look-ups?": "lookup",
    r"mend(s|ed|ing)?": "fix, correct",
    r"one's own|oneself": "your own, their own",
    "or else": "otherwise",
    "patience": "timeout",
    "shall": "must",
    "start-up": "startup",
    r"time-outs?": "timeout",
    "whoever": "name the person or program",
    r"(?<!there )(is|are) no(?! longer| such| more| matter)(?= )": "is not a (or: there is no)",
}
_ODD_WORD: Final = re.compile(
    # Not inside a path or a name such as `sweep-answers`.
    "|".join(rf"(?P<w{n}>(?<![\w/-])({word})(?![\w/-]))" for n, word in enumerate(ODD_WORDS)),
    re.IGNORECASE,
)
_ADVICE: Final = list(ODD_WORDS.values())


def odd_words(text: str) -> Iterator[str]:
    for match in _ODD_WORD.finditer(text):
        number = int((match.lastgroup or "w0")[1:])
        yield f"{match[0]!r}: write {_ADVICE[number]}"


def notes(text: str, tree: ast.AST) -> list[tuple[int, str]]:
    """Return the comments and docstrings of a module with their line numbers.

    Comments on consecutive lines are one text.
    """
    comments: list[tuple[int, str]] = []
    last_line = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(type:|noqa|fmt:|!)", token.string):
            continue
        comment, line = token.string.lstrip("# ").strip(), token.start[0]
        own_line = not token.line[: token.start[1]].strip()
        if own_line and line == last_line + 1:
            comments[-1] = (comments[-1][0], f"{comments[-1][1]} {comment}")
        else:
            comments.append((line, comment))
        last_line = line if own_line else -1
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        (getattr(node, "lineno", 1), ast.get_docstring(node) or "")
        for node in ast.walk(tree)
        if isinstance(node, documented)
    ]
    return comments + [(line, docstring) for line, docstring in docstrings if docstring]


def text_violations(path: Path) -> list[str]:
    """Check the comments and docstrings of a Python file."""
    text = path.read_text()
    place = path.relative_to(PROJECT_ROOT)
    violations = []
    for line, note in notes(text, ast.parse(text)):
        if CLAUSE_OPENING.match(note):
            violations.append(f"{place}:{line} {note[:60]!r}: {OPENING_ADVICE}")
        violations += [f"{place}:{line} {violation}" for violation in odd_words(note)]
    return violations


def name_violations(path: Path) -> list[str]:
    """Check the names that a Python file defines."""
    place = path.relative_to(PROJECT_ROOT)
    violations = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        else:
            continue
        if name.strip("_") in VAGUE_NAMES:
            violations.append(f"{place}:{getattr(node, 'lineno', 0)} {name}: {NAME_ADVICE}")
    return violations


def statement_violations(path: Path) -> list[str]:
    """Check that no statement assigns several attributes: `self.a, self.b = a, b`."""
    place = path.relative_to(PROJECT_ROOT)
    return [
        f"{place}:{node.lineno} assign one attribute per statement"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
        and any(isinstance(target, ast.Attribute) for target in node.targets[0].elts)
    ]
