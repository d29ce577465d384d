"""Copy the versions of requirements-dev.txt into pyproject.toml, where `uv sync` reads them.

A `uv.lock` would contain the address of the package index in every line, and the files of this
repository name none. Without the lock, and without these constraints, `uv sync` would install other
versions of indirect dependencies than `make`.
"""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
REQUIREMENTS: Final = ROOT / "requirements-dev.txt"
PROJECT: Final = ROOT / "pyproject.toml"
CONSTRAINTS: Final = re.compile(r"(?ms)^constraint-dependencies = \[\n.*?^\]\n")


def main() -> None:
    """Replace the constraints in pyproject.toml."""
    lines = "".join(f'    "{pin}",\n' for pin in read_pins(REQUIREMENTS.read_text()))
    constraints = f"constraint-dependencies = [\n{lines}]\n"
    PROJECT.write_text(CONSTRAINTS.sub(lambda _match: constraints, PROJECT.read_text()))


def read_pins(requirements: str) -> list[str]:
    r"""Return the requirements in the text of a lock file, without hashes.

    For example `["alembic==1.20.1", "tzdata==2026.6 ; sys_platform == 'win32'"]`.
    """
    return re.findall(r"^([\w.-]+==.*?) \\$", requirements, re.MULTILINE)


if __name__ == "__main__":
    main()
