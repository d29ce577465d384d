"""Check that `openapi.json` is up to date and does not break clients of the last release.

`python -m checks.openapi` checks, and `python -m checks.openapi write` first writes the file.
`released.json` in this directory is a copy of the document of the last release, so that the check
does not need git.

A breaking change is allowed if it is intended. CHANGELOG.md then announces it under "Unreleased",
by an item that begins with **Breaking** and names the operations:

    - **Breaking**: `create_author` no longer accepts `dob`.
"""

import json
import re
import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Final

from app.main import create_app
from app.settings import Settings
from checks.breaking import find_breaking_changes
from checks.schema_changes import Json

ROOT: Final = Path(__file__).parents[1]
COMMITTED_DOCUMENT: Final = ROOT / "openapi.json"
RELEASED_DOCUMENT: Final = ROOT / "checks" / "released.json"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
MAX_DIFF_LINES: Final = 40


def main() -> int:
    """Print the errors of the check. Return the exit status, which is 1 if there is an error."""
    document = generate_document()
    if sys.argv[1:] == ["write"]:
        COMMITTED_DOCUMENT.write_text(serialize_document(document), encoding="utf-8")
    errors = find_errors(
        COMMITTED_DOCUMENT.read_text(encoding="utf-8"),
        document,
        json.loads(RELEASED_DOCUMENT.read_text(encoding="utf-8")),
        CHANGELOG.read_text(encoding="utf-8"),
    )
    exit_status = 0
    for line in errors:
        print(line, file=sys.stderr)
        exit_status = 1
    return exit_status


def generate_document() -> Json:
    """Return the OpenAPI document that the service has in production by default."""
    # Neither environment variables nor `.env` of this machine may change the document.
    settings = Settings(_env_file=None, app_env="test", anonymous_access="read")
    return create_app(settings).openapi()


def serialize_document(document: Json) -> str:
    """Return the text of `openapi.json`."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def find_errors(
    committed: str, document: Json, released_document: Json, changelog: str
) -> Iterator[str]:
    """Yield the lines of a report that says what to do before the document can be committed.

    Args:
        committed: The text of `openapi.json`.
        document: The document of the current code.
        released_document: The document of the last release.
        changelog: The text of CHANGELOG.md.
    """
    generated = serialize_document(document)
    if committed != generated:
        yield "openapi.json is not the document of this code. Run `make openapi` to update it:"
        # The first two lines of a diff are names of files.
        diff = [*unified_diff(committed.splitlines(), generated.splitlines(), n=1, lineterm="")]
        yield from diff[2 : MAX_DIFF_LINES + 2]
    announced = announced_operations(changelog)
    # A dict removes duplicates: the schema of a body is compared for each of its media types.
    changes = dict.fromkeys(find_breaking_changes(released_document, document))
    unannounced = [change for change in changes if change.operation_id not in announced]
    if unannounced:
        version = released_document["info"]["version"]
        yield f"These changes break clients of {version}. Undo them, or announce them in"
        yield "CHANGELOG.md under Unreleased, by an item like this:"
        yield f"- **Breaking**: `{unannounced[0].operation_id}` ..."
        for change in unannounced:
            yield f"  {change.operation_id}: {change.description}"


def announced_operations(changelog: str) -> set[str]:
    """Return the operations whose breaking changes the changelog announces for the next release.

    For example `{"create_author"}` if the section "Unreleased" has this item:

        - **Breaking**: `create_author` no longer accepts `dob`.

    The result contains every name in backticks, here also "dob", which is not an operation.
    """
    unreleased = re.search(
        r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if unreleased is None:
        return set()
    names: set[str] = set()
    for item in re.split(r"^- ", unreleased[1], flags=re.MULTILINE):
        if item.startswith("**Breaking**"):
            names.update(re.findall(r"`(\w+)`", item))
    return names


if __name__ == "__main__":
    sys.exit(main())
