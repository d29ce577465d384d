"""Is `openapi.json` the document of this code, and does it keep what the last release promised?

`python -m checks.openapi` compares, `python -m checks.openapi write` renews the file. It needs
neither git nor its history: what was promised lies beside this module. A promise may be broken on
purpose: by an item of CHANGELOG.md, under Unreleased, that begins with **Breaking** and names
the operations in backticks.
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
from checks.breaking import Break, Json, breaks

ROOT: Final = Path(__file__).parents[1]
COMMITTED: Final = ROOT / "openapi.json"
RELEASED: Final = ROOT / "checks" / "released.json"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
SHOWN: Final = 40  # lines of a difference


def document() -> Json:
    """What is served in production unless the settings say otherwise, whatever they are here."""
    settings = Settings(_env_file=None, app_env="test", anonymous_access="read")
    return create_app(settings).openapi()


def written(found: Json) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def acknowledged(changelog: str) -> set[str]:
    """The operations whose changes the next release announces as breaking."""
    unreleased = re.search(
        r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    items = re.split(r"^- ", unreleased[1] if unreleased else "", flags=re.MULTILINE)
    announced = [item for item in items if item.startswith("**Breaking**")]
    return {name for item in announced for name in re.findall(r"`(\w+)`", item)}


def faults(committed: str, now: Json, released: Json, changelog: str) -> Iterator[str]:
    """What has to be done before the document may be committed."""
    if committed != written(now):
        lines = unified_diff(committed.splitlines(), written(now).splitlines(), n=1, lineterm="")
        yield "openapi.json is not what the service answers: `make openapi` renews it"
        yield from [*lines][2 : SHOWN + 2]
    known = acknowledged(changelog)
    found = dict.fromkeys(breaks(released, now))  # once, however many types a body may have
    broken = [each for each in found if each.operation not in known]
    if broken:
        version = released["info"]["version"]
        yield f"clients of {version} break: mend it, or say so in CHANGELOG.md under Unreleased,"
        yield f"as in: - **Breaking**: `{broken[0].operation}` ..."
        yield from map(_line, broken)


def _line(broken: Break) -> str:
    return f"  {broken.operation}: {broken.what}"


def main() -> int:
    now = document()
    if sys.argv[1:] == ["write"]:
        COMMITTED.write_text(written(now), encoding="utf-8")
    committed, released, changelog = (
        path.read_text(encoding="utf-8") for path in (COMMITTED, RELEASED, CHANGELOG)
    )
    found = list(faults(committed, now, json.loads(released), changelog))
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
