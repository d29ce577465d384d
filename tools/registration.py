"""Add a new entity to the files that list every one."""

import re
from pathlib import Path
from string import Template
from typing import Final

ROOT: Final = Path(__file__).parents[1]
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


def register(values: dict[str, str]) -> None:
    """Add an entity to the routers, the tables, the import contracts and the generic tests.

    `values` are those of the placeholders in the templates.
    """
    values = values | {"search_word": values["noun"].rpartition(" ")[2]}
    insert(
        "app/api.py",
        values,
        ("^from app", "from app.${package}.router import router as ${package}\n"),
        ("^    documents,\n", "    ${package},\n"),
        ('^    {"name": "documents"', '    {"name": "${plural}", "description": "${Plural}"},\n'),
    )
    insert(
        "app/tables.py",
        values,
        ("^from app", "from app.${package}.models import ${Class}\n"),
        ("^    Document,\n", "    ${Class},\n"),
    )
    insert(
        "tests/support/entities.py",
        values,
        ("^from app", "from app.${package}.models import ${Class}\n"),
        (r"^    EntityCase\(\n        model=Document,", CASE),
    )
    # The new entity imports no other one. Move it to another layer if that changes.
    insert("pyproject.toml", values, (r'(?<=^    "authors)', " | ${package}"))


def insert(path: str, values: dict[str, str], *insertions: tuple[str, str]) -> None:
    """Insert texts into a file, each before the first match of its pattern."""
    file = ROOT / path
    text = file.read_text(encoding="utf-8")
    for pattern, template in insertions:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise SystemExit(f"{path} has no line {pattern!r}, before which to add the entity.")
        text = text[: match.start()] + Template(template).substitute(values) + text[match.start() :]
    file.write_text(text, encoding="utf-8")
