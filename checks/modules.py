"""Check that `docs/modules.md` is up to date: the modules of `app` and what they contain.

The page has the first line of the docstring of each module. `python -m checks.modules write` writes
it. The modules of entities are left out, because every entity has the same ones.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).parents[1]
APP: Final = PROJECT_ROOT / "app"
PAGE: Final = PROJECT_ROOT / "docs" / "modules.md"
INTRODUCTION: Final = """# Modules

Every module of `app`, with the first line of its docstring. `make docs` writes this page.
[Architecture](architecture.md#packages) describes the modules of an entity, such as `app/books`.
"""
TABLE_HEAD: Final = ("", "| module | contents |", "| --- | --- |")


def main() -> int:
    """Return the exit status, which is 1 if the page is out of date."""
    page = generate_page()
    if sys.argv[1:] == ["write"]:
        PAGE.write_text(page)
        return 0
    if PAGE.read_text() != page:
        print("docs/modules.md is out of date. Run `make docs`.", file=sys.stderr)
        return 1
    return 0


def generate_page() -> str:
    """Return the page: one table per package, with a row per module."""
    sections = [INTRODUCTION]
    for package in find_packages():
        modules = sorted(path for path in package.glob("*.py") if not path.name.startswith("__"))
        rows = [f"| `{path.name}` | {read_summary(path)} |" for path in modules]
        heading = f"## {package.relative_to(PROJECT_ROOT).as_posix()}"
        sections.append("\n".join([heading, *TABLE_HEAD, *rows, ""]))
    return "\n".join(sections)


def find_packages() -> Iterator[Path]:
    """Yield the directories of `app` that contain modules, without those of entities."""
    for package in sorted(path.parent for path in APP.rglob("__init__.py")):
        is_entity = (package / "models.py").exists()
        if not is_entity:
            yield package


def read_summary(module: Path) -> str:
    """Return the first paragraph of the docstring of a module, on one line."""
    docstring = ast.get_docstring(ast.parse(module.read_text())) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


if __name__ == "__main__":
    sys.exit(main())
