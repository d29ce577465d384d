"""Creates files and directories that other users of the machine cannot read."""

import os
import stat
from pathlib import Path
from typing import Final

from app.embedded.errors import create_wrong_owner_error

_PRIVATE_DIRECTORY_MODE: Final = 0o700
_PRIVATE_FILE_MODE: Final = 0o600
# The names of all entries in the data directory, without extensions such as in "postgres.log".
_ENTRY_NAMES: Final = {"postgres", "run", "s3"}


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data directory, and keep other users out of it.

    The permissions of an existing directory are only changed if the embedded servers alone use it.
    DATA_DIR may also be a directory that other users need, such as `/tmp`.
    """
    if not data_dir.exists():
        data_dir.mkdir(parents=True, mode=_PRIVATE_DIRECTORY_MODE)
    belongs_to_user = data_dir.stat().st_uid == os.geteuid()
    if belongs_to_user and all(_is_ours(entry) for entry in data_dir.iterdir()):
        _remove_permissions_of_others(data_dir)


def prepare_private_directory(directory: Path, owner_uid: int) -> None:
    """Create a directory that only its owner can enter, or keep other users out of it.

    Raises `EmbeddedError` if the directory exists and belongs to another user.
    """
    if not directory.exists():
        directory.mkdir(mode=_PRIVATE_DIRECTORY_MODE)
        # -1 keeps the group.
        os.chown(directory, owner_uid, -1)
    if directory.stat().st_uid != owner_uid:
        raise create_wrong_owner_error(directory)
    _remove_permissions_of_others(directory)


def open_private_file(path: str, flags: int) -> int:
    """Open a file that only the current user can read. Pass this function as `opener` to `open`.

    Raises `EmbeddedError` if the file exists and belongs to another user.
    """
    file_descriptor = os.open(path, flags, _PRIVATE_FILE_MODE)
    if os.fstat(file_descriptor).st_uid != os.geteuid():
        os.close(file_descriptor)
        raise create_wrong_owner_error(Path(path))
    os.fchmod(file_descriptor, _PRIVATE_FILE_MODE)
    return file_descriptor


def _is_ours(entry: Path) -> bool:
    """Return whether an entry of the data directory belongs to an embedded server."""
    name, _, _ = entry.name.partition(".")
    return name in _ENTRY_NAMES


def _remove_permissions_of_others(directory: Path) -> None:
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & ~_PRIVATE_DIRECTORY_MODE:
        directory.chmod(_PRIVATE_DIRECTORY_MODE)
