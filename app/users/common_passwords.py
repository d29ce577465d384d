"""The list of common passwords, which attackers try first."""

from functools import cache
from pathlib import Path
from typing import Final

_LIST: Final = Path(__file__).with_name("common_passwords.txt")


def is_common_password(normalized_password: str) -> bool:
    """Return whether a password is on the list of common passwords, ignoring case.

    For example, `is_common_password("Password1")` returns True.
    """
    return normalized_password.casefold() in _load_common_passwords()


@cache
def _load_common_passwords() -> frozenset[str]:
    """Read the list when it is first needed. It takes about 150 kB of memory.

    Lines that begin with `#` are comments.
    """
    lines = _LIST.read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
