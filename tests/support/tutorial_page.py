"""Reads the commands and changes of docs/adding-an-entity.md, and applies them to a repository."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "adding-an-entity.md"


@dataclass(frozen=True)
class Step:
    """A fenced block of the page: shell commands, or changes to a file."""

    language: str
    text: str


def sections() -> dict[str, list[Step]]:
    """Return the steps of each section, by its heading."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        heading: [
            Step(*block) for block in re.findall(r"```(bash|diff)\n(.*?)```", body, re.DOTALL)
        ]
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def apply_changes(text: str, repository: Path) -> None:
    """Apply a diff without line numbers. The old lines of each hunk must occur exactly once."""
    head, *hunks = text.split("@@\n")
    path = repository / head.removeprefix("--- ").strip()
    content = path.read_text(encoding="utf-8")
    for hunk in hunks:
        old = "".join(_lines(hunk, " -"))
        new = "".join(_lines(hunk, " +"))
        count = content.count(old)
        assert count == 1, f"{path.name} contains this text {count} times instead of once:\n{old}"
        content = content.replace(old, new)
    path.write_text(content, encoding="utf-8")


def _lines(hunk: str, prefixes: str) -> Iterator[str]:
    """Return the lines that begin with one of these characters, without it."""
    return (line[1:] for line in hunk.splitlines(keepends=True) if line[0] in prefixes)
