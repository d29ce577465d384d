"""Lists, reads and moves the files of this repository, and runs commands in its root directory."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
# The modules to run after files were written, with their arguments. They sort imports, format the
# code and write openapi.json.
TIDY_COMMANDS: Final = (
    ("ruff", "check", "--quiet", "--fix", "--select", "I", "."),
    ("ruff", "format", "--quiet", "."),
    ("checks.openapi", "write"),
)


class CommandError(Exception):
    """Raised if a command fails or is not installed. The message contains its output."""


def run(*command: str) -> str:
    """Run a command in the root directory and return its output. Raises `CommandError`."""
    try:
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise CommandError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        output = f"{error.stdout}{error.stderr}".strip()
        raise CommandError(f"`{shlex.join(command)}` failed:\n{output}") from None
    return process.stdout


def has_git() -> bool:
    """Return whether this is a git clone, and not a downloaded archive."""
    return (ROOT / ".git").exists()


def list_files() -> list[Path]:
    """Return the files that git tracks. Without git, return those that it would not ignore."""
    if not has_git():
        return list_files_without_git(ROOT)
    file_names = run("git", "ls-files", "-z").split("\0")
    paths = [ROOT / file_name for file_name in file_names if file_name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def list_files_without_git(root: Path) -> list[Path]:
    """Return the files in a directory and its subdirectories that `.gitignore` does not exclude."""
    lines = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored_patterns = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    return list(_list_files_recursively(root, [".git", *ignored_patterns]))


def _list_files_recursively(directory: Path, ignored_patterns: list[str]) -> Iterator[Path]:
    """Yield the files in a directory and its subdirectories, except those that match a pattern."""
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or any(path.match(pattern) for pattern in ignored_patterns):
            continue
        if path.is_dir():
            yield from _list_files_recursively(path, ignored_patterns)
        elif path.is_file():
            yield path


def read_texts(paths: list[Path]) -> dict[Path, str]:
    """Return the content of each file that is UTF-8 text, by its path."""
    texts = {}
    for path in paths:
        content = path.read_bytes()
        if b"\0" in content:
            continue
        try:
            # `read_text` would replace line ends of Windows.
            texts[path] = content.decode()
        except UnicodeDecodeError:
            continue
    return texts


def move(path: Path, target: Path) -> None:
    """Move a file, and remove the directories that become empty."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    directory = path.parent
    while directory != ROOT and not any(directory.iterdir()):
        directory.rmdir()
        directory = directory.parent
