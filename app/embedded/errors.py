"""Errors of the embedded servers."""

from pathlib import Path
from typing import Final

from app import NAME

# Precedes the name of a setting that makes the embedded server unnecessary.
INSTALL_HINT: Final = f"Use `make run`, install {NAME}[embedded], or set"


class EmbeddedError(Exception):
    """Raised if an embedded server cannot be started. The message tells the user why."""


def create_wrong_owner_error(path: Path) -> EmbeddedError:
    """Return the error for a file or directory that belongs to another user."""
    owner = "another user"
    if path.exists():
        owner = f"user {path.stat().st_uid}"
    return EmbeddedError(
        f"{path} belongs to {owner}. Set DATA_DIR to a directory that belongs to you."
    )
