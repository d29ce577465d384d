"""Add a new entity to the files that list every one."""

import re
from pathlib import Path
from string import Template
from typing import Final

from tools.repository import ROOT, CommandError

CASE: Final = """\
    EntityCase(
        model=${Class},
        columns={"name": "'${Noun} ' || n"},
        sorts=("name", "created_at"),
        create={"name": "Example"},
        update={"name": "Changed"},
        search_column="name",
        search_word="${search_word}",
        streams=True,
    ),
"""


def register(values: dict[str, str]) -> dict[Path, str]:
    """Return the files to which an entity is added, and their new contents.

    These are the lists of routers and tables, the import contracts and the tests of every entity.
    `values` are those of the placeholders in the templates.
    """
    values = values | {"search_word": values["noun"].rpartition(" ")[2]}
    insertions = {
        "app/api.py": (
            ("^from app", "from app.${package}.router import router as ${package}\n"),
            ("^    documents,\n", "    ${package},\n"),
            (
                '^    {"name": "documents"',
                '    {"name": "${plural}", "description": "${Plural}"},\n',
            ),
        ),
        "app/tables.py": (
            ("^from app", "from app.${package}.models import ${Class}\n"),
            ("^    Document,\n", "    ${Class},\n"),
        ),
        "tests/support/entities.py": (
            ("^from app", "from app.${package}.models import ${Class}\n"),
            (r"^    EntityCase\(\n        model=Document,", CASE),
        ),
        # The new entity imports no other one. Move it to another layer if that changes.
        "pyproject.toml": ((r'(?<=^    "authors)', " | ${package}"),),
    }
    return {ROOT / name: insert(ROOT / name, values, places) for name, places in insertions.items()}


def insert(path: Path, values: dict[str, str], places: tuple[tuple[str, str], ...]) -> str:
    """Return the content of a file with texts before the first matches of their patterns."""
    content = path.read_text(encoding="utf-8")
    for pattern, template in places:
        match = re.search(pattern, content, re.MULTILINE)
        if match is None:
            raise CommandError(f"{path} has no place {pattern!r} to which to add the entity")
        text = Template(template).substitute(values)
        content = content[: match.start()] + text + content[match.start() :]
    return content
