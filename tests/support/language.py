"""Rules of CONTRIBUTING.md, "Language", that a program can check.

Each check returns one line per violation: the place, and what to write instead.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

# Names that do not say what they are a name of.
_VAGUE_NAMES: Final = {
    "about", "anew", "asked", "found", "gave", "given", "gone", "heard", "kept", "known_as",
    "made", "noted", "others", "ours", "said", "spoken", "told", "wanted", "whose",
}  # fmt: skip

# The openings of a comment or docstring that is a clause without a subject.
_CLAUSE_OPENING: Final = re.compile(
    r"(Of|What|Who|Whoever|Whose|Whether|Not by|Not of|Here, for|Else|Nobody"
    r"|For(?! example| instance| each| every| all| more| the)|By(?! default)"
    r"|Now|Before(?! the)|From(?! now on))\b"
)

# Words that a reader would not search for, and what to write instead.
_ODD_WORDS: Final = {
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
_ODD_WORD_PATTERNS: Final = {
    # Not inside a path or a name such as `sweep-answers`.
    re.compile(rf"(?<![\w/-])({word})(?![\w/-])", re.IGNORECASE): replacement
    for word, replacement in _ODD_WORDS.items()
}


@dataclass(frozen=True)
class Module:
    """A Python module. Its path is relative to the repository."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the syntax tree."""
        return list(ast.walk(ast.parse(self.text)))


def odd_words(text: str) -> Iterator[str]:
    """Yield `'whoever': write ...` for each odd word of a text."""
    for pattern, replacement in _ODD_WORD_PATTERNS.items():
        for match in pattern.finditer(text):
            yield f"{match[0]!r}: write {replacement}"


def note_violations(module: Module) -> Iterator[str]:
    """Check the comments and docstrings of a module."""
    for line, note in (*_comments(module.text), *_docstrings(module)):
        if _CLAUSE_OPENING.match(note):
            yield (
                f"{module.path}:{line} {note[:60]!r}: begin with a noun and a verb, or with an "
                "imperative"
            )
        for violation in odd_words(note):
            yield f"{module.path}:{line} {violation}"


def _comments(text: str) -> list[tuple[int, str]]:
    """Return the comments of a module with their line numbers.

    Comments on consecutive lines are one text, with the number of the first line.
    """
    comments: list[tuple[int, str]] = []
    previous_line = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(type:|noqa|fmt:|!)", token.string):
            continue
        comment = token.string.lstrip("# ").strip()
        line = token.start[0]
        is_alone_on_line = token.line.lstrip().startswith("#")
        if is_alone_on_line and line == previous_line + 1:
            first_line, beginning = comments.pop()
            comments.append((first_line, f"{beginning} {comment}"))
        else:
            comments.append((line, comment))
        previous_line = line if is_alone_on_line else -1
    return comments


def _docstrings(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module with the line numbers of what they describe."""
    for node in module.nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring is not None:
                # The words are compared without regard to line breaks.
                yield getattr(node, "lineno", 1), " ".join(docstring.split())


def name_violations(module: Module) -> Iterator[str]:
    """Check the names that a module defines."""
    for node in module.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        else:
            continue
        if name.strip("_").lower() in _VAGUE_NAMES:
            yield (
                f"{module.path}:{node.lineno} {name}: name what it is: row, rows, book, response, "
                "statement, user"
            )


def statement_violations(module: Module) -> Iterator[str]:
    """Check that no statement assigns several attributes: `self.a, self.b = a, b`."""
    for node in module.nodes:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple)
            and any(isinstance(target, ast.Attribute) for target in node.targets[0].elts)
        ):
            yield f"{module.path}:{node.lineno} assign one attribute per statement"
