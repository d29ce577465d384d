"""Add a new entity to the files that list every entity."""

import re
from pathlib import Path
from string import Template
from typing import Final

from tools.repository import ROOT, CommandError

# The entry in `tests/support/entities.py`.
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

    These are the lists of routers and tables, the import contracts, and the list of entities that
    the generic tests cover. `values` are those of the placeholders in the templates.
    """
    last_word = values["noun"].rpartition(" ")[2]
    values = values | {"search_word": last_word}
    # For each file, pairs of a pattern and a text to insert before its first match.
    insertions = {
        "app/api.py": (
            ("^from app", "from app.${package}.router import router as ${package}\n"),
            # The end of ROUTERS, and the end of TAGS.
            (r"^\)$", "    ${package},\n"),
            (r"^\]$", '    {"name": "${plural}", "description": "${Plural}"},\n'),
        ),
        "app/tables.py": (
            ("^from app", "from app.${package}.models import ${Class}\n"),
            # The end of TABLES.
            (r"^\)$", "    ${Class},\n"),
        ),
        "tests/support/entities.py": (
            ("^from app", "from app.${package}.models import ${Class}\n"),
            # The end of ENTITIES.
            (r"^\)$", CASE),
        ),
        # The layer of entities that import no other entity, which is the one above `core`. Move the
        # new one if it comes to import another.
        "pyproject.toml": ((r'(?<=^    ")(?=[a-z_ |]+",\n    "core",)', "${package} | "),),
    }
    return {ROOT / name: insert(ROOT / name, values, texts) for name, texts in insertions.items()}


def insert(path: Path, values: dict[str, str], texts: tuple[tuple[str, str], ...]) -> str:
    """Return the content of a file with each text inserted before the first match of its pattern.

    The texts are templates with placeholders for `values`.
    """
    content = path.read_text(encoding="utf-8")
    for pattern, template in texts:
        match = re.search(pattern, content, re.MULTILINE)
        if match is None:
            raise CommandError(
                f"Cannot add the entity to {path}, because nothing in it matches {pattern!r}. "
                "Change the pattern in tools/registration.py."
            )
        text = Template(template).substitute(values)
        content = content[: match.start()] + text + content[match.start() :]
    return content
