"""Errors of the embedded servers."""

from pathlib import Path


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
