"""Create a new entity: `make entity NAME=publisher`.

It writes the packages `app/publishers` and `tests/publishers` from the files in `tools/templates`,
adds the entity to the files that list every entity, and updates `openapi.json`. The only field of
the new entity is its name. Add the other fields before `make revision`.
"""

import argparse
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from app.tables import metadata
from tools.registration import add_to_lists
from tools.repository import ROOT, TIDY_COMMANDS, CommandError, run

TEMPLATES: Final = ROOT / "tools" / "templates"
_VALID_NAME: Final = re.compile(r"[a-z]+([ _-][a-z]+)*")
NEXT_STEPS: Final = Template("""\
Wrote app/${package} and tests/${package}, and added them to app/api.py, app/tables.py,
app/changes/visibility.py, pyproject.toml and tests/support/entities.py. Next:

  1. Edit models.py and schemas.py of app/${package}, and the entry in tests/support/entities.py.
  2. make revision MESSAGE="create ${plural}"
  3. make openapi
  4. make check test

docs/adding-an-entity.md explains each step.""")


@dataclass(frozen=True)
class Names:
    """The forms of an entity's name, for example of "order line"."""

    noun: str  # order line
    plural: str  # order lines

    @property
    def package(self) -> str:
        """Return the name of the package and the table: `order_lines`."""
        return self.plural.replace(" ", "_")

    @property
    def singular(self) -> str:
        """Return the entity in the names of operations: `order_line`."""
        return self.noun.replace(" ", "_")

    @property
    def class_name(self) -> str:
        """Return the name of the mapped class: `OrderLine`."""
        return self.noun.title().replace(" ", "")

    @property
    def path(self) -> str:
        """Return the last part of the path of the collection: `order-lines`."""
        return self.plural.replace(" ", "-")

    def placeholders(self) -> dict[str, str]:
        """Return the value of each placeholder in the templates, such as `${Class}`."""
        article = "a"
        # Nouns with u, such as "user", begin with the sound of a consonant.
        if self.noun[0] in "aeio":
            article = "an"
        return {
            "noun": self.noun,
            "Noun": self.noun.capitalize(),
            "a_noun": f"{article} {self.noun}",
            "A_noun": f"{article} {self.noun}".capitalize(),
            "plural": self.plural,
            "Plural": self.plural.capitalize(),
            "package": self.package,
            "singular": self.singular,
            "path": self.path,
            "table": self.package,
            "Class": self.class_name,
        }


def main() -> None:
    """Create the entity that the arguments name."""
    parser = argparse.ArgumentParser(description="Create a new entity.")
    parser.add_argument("noun", help="for example publisher, or order_line")
    parser.add_argument("plural", nargs="?", default="", help="only if it is irregular")
    arguments = parser.parse_args()
    names = parse_names(arguments.noun, arguments.plural)
    check_names(names)
    try:
        write_files(names)
    except CommandError as error:
        sys.exit(str(error))
    print(NEXT_STEPS.substitute(names.placeholders()))


def write_files(names: Names) -> None:
    """Write the files of the entity, and add it to the files that list every entity."""
    files = {**render_templates(names), **add_to_lists(names.placeholders())}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in TIDY_COMMANDS:
        run(sys.executable, "-m", *command)


def parse_names(noun: str, plural: str) -> Names:
    """Return the names of an entity. Without a plural, use the regular one.

    The words of a name are separated by `_`, `-` or a space. Ends the command if a name is invalid.
    """
    for name in filter(None, (noun, plural)):
        if not _VALID_NAME.fullmatch(name):
            sys.exit(
                f"{name!r} must consist of lowercase letters, as publisher or order_line does."
            )
    if not noun:
        sys.exit("Name the entity, for example: make entity NAME=publisher")
    noun = re.sub("[_-]", " ", noun)
    plural = re.sub("[_-]", " ", plural)
    return Names(noun, plural or pluralize(noun))


def pluralize(noun: str) -> str:
    """Return the regular plural of an English noun, for example "countries" for "country"."""
    if re.search("[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    if re.search("(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    return f"{noun}s"


def check_names(names: Names) -> None:
    """End the command if a name is already in use, or is a keyword of Python or Postgres."""
    if names.noun == names.plural:
        sys.exit(f"The plural must differ from {names.noun}, for example PLURAL={names.singular}s")
    for path in (f"app/{names.package}", f"tests/{names.package}"):
        for existing in (path, f"{path}.py"):
            if (ROOT / existing).exists():
                sys.exit(f"{existing} already exists.")
    if names.package in metadata.tables:
        sys.exit(f"The table {names.package} already exists.")
    if names.path == "docs":
        sys.exit("The path /docs already belongs to Swagger UI.")
    for name in (names.singular, names.package):
        if keyword.iskeyword(name):
            sys.exit(f"{name} is a keyword of Python.")
    if names.package in RESERVED_WORDS:
        # SQLAlchemy would quote it. People who write SQL would have to quote it, too.
        sys.exit(f"{names.package} is a keyword of Postgres.")
    check_class_names(names)


def check_class_names(names: Names) -> None:
    """End the command if a class of the entity would have a name that its modules already use.

    For example "Entity" is the base class of all entities.
    """
    list_files = [ROOT / "app" / "tables.py", ROOT / "tests" / "support" / "entities.py"]
    code = "".join(path.read_text() for path in [*list_files, *TEMPLATES.rglob("*.txt")])
    for suffix in ("", "Create", "Read", "Update", "Query", "Repository", "Service"):
        name = f"{names.class_name}{suffix}"
        if re.search(rf"\b{name}\b", code):
            sys.exit(f"The code of every entity already uses the name {name}.")


def render_templates(names: Names) -> dict[Path, str]:
    """Return the content of each new file of the entity, by its path."""
    files = {}
    placeholders = names.placeholders()
    for directory in ("app", "tests"):
        package = ROOT / directory / names.package
        files[package / "__init__.py"] = ""
        for template in sorted((TEMPLATES / directory).glob("*.txt")):
            file_name = Template(template.stem).substitute(placeholders)
            files[package / file_name] = Template(template.read_text()).substitute(placeholders)
    return files


if __name__ == "__main__":
    main()
