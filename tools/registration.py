"""Adds a new entity to the files that list every entity."""

import re
from pathlib import Path
from string import Template
from typing import Final

from tools.repository import ROOT, CommandError

# The template of an entry in `tests/support/entities.py`.
ENTITY_CASE: Final = """\
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


def add_to_lists(placeholders: dict[str, str]) -> dict[Path, str]:
    """Return the new content of each file to which an entity is added, by its path.

    These are the lists of routers, tables and recorded entities, the import contracts, and the list
    of entities that the generic tests cover. `placeholders` are the values in templates, such as
    `{"noun": "order line", "Class": "OrderLine", ...}`.
    """
    *_, last_word = placeholders["noun"].split(" ")
    placeholders = placeholders | {"search_word": last_word}
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
        # The end of READ_PERMISSIONS.
        "app/changes/visibility.py": ((r"^}$", '    "${package}": "catalog:read",\n'),),
        "tests/support/entities.py": (
            ("^from app", "from app.${package}.models import ${Class}\n"),
            # The end of ENTITIES.
            (r"^\)$", ENTITY_CASE),
        ),
        # The layer above `core` has the entities that import no other entity. Move an entity to a
        # higher layer when it imports another one.
        "pyproject.toml": ((r'(?<=^    ")(?=[a-z_ |]+",\n    "core",)', "${package} | "),),
    }
    new_contents = {}
    for file_name, file_insertions in insertions.items():
        path = ROOT / file_name
        new_contents[path] = insert_templates(path, placeholders, file_insertions)
    return new_contents


def insert_templates(
    path: Path, placeholders: dict[str, str], insertions: tuple[tuple[str, str], ...]
) -> str:
    """Return the content of a file after insertions. The file itself is not changed.

    Each insertion is a pattern and a template. The template, with the values of its placeholders,
    is inserted before the first match of the pattern. Raises `CommandError` if nothing matches.
    """
    content = path.read_text(encoding="utf-8")
    for pattern, template in insertions:
        match = re.search(pattern, content, re.MULTILINE)
        if match is None:
            raise CommandError(
                f"Cannot add the entity to {path}, because nothing in it matches {pattern!r}. "
                "Change the pattern in tools/registration.py."
            )
        text = Template(template).substitute(placeholders)
        content = content[: match.start()] + text + content[match.start() :]
    return content
