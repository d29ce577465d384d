"""Reads the generators of clients from docs/clients.md: their commands, files and examples."""

import re
from dataclasses import dataclass

from tests.support.processes import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "clients.md"
_HEADING = re.compile(r"^## (.*)\n", re.MULTILINE)
_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: The heading in lower case, for example "fastmcp".
        commands: The shell blocks, which generate the client.
        files: The text of each file that a block with a title shows, for example "example.py".
    """

    name: str
    commands: list[str]
    files: dict[str, str]


def read_sections() -> list[Section]:
    """Return the sections of the page in their order."""
    parts = _HEADING.split(PAGE.read_text(encoding="utf-8"))
    headings, bodies = parts[1::2], parts[2::2]
    return [
        _parse_section(heading.lower(), body)
        for heading, body in zip(headings, bodies, strict=True)
    ]


def _parse_section(name: str, body: str) -> Section:
    blocks = list(_BLOCK.finditer(body))
    return Section(
        name=name,
        commands=[block["text"] for block in blocks if block["language"] == "bash"],
        files={block["file"]: block["text"] for block in blocks if block["file"]},
    )
