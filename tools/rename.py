"""Rename the service, in every file of the repository.

    make rename NAME=orderdesk TITLE="Order Desk"

NAME is used in code, and TITLE in texts for people. The current values are in `app/__init__.py`, so
that the repository can be renamed again. Only whole words are replaced: `name_test` contains the
word `name`, but `names` does not.
"""

import argparse
import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from app import NAME, TITLE
from tools.repository import (
    ROOT,
    TIDY_COMMANDS,
    CommandError,
    has_git,
    list_files,
    move,
    read_texts,
    run,
)

EXAMPLE: Final = 'make rename NAME=orderdesk TITLE="Order Desk"'
# The name of an S3 bucket has at least three characters. A name of more than 20 characters would
# make tokens, which begin with it, and lines of code too long.
VALID_NAME: Final = re.compile("[a-z][a-z0-9]{2,19}")
VALID_TITLE: Final = re.compile("(?=.{3,30}$)[A-Z][A-Za-z0-9]*( [A-Za-z0-9]+)*")
# These files name the copyright holders, whom a rename does not change.
LICENSE_PATTERNS: Final = ("LICENSE*", "COPYING*", "NOTICE*")


class RenameError(Exception):
    """Raised if the repository cannot be renamed. The message states the reason."""


class Names(NamedTuple):
    """The name of the service in code, and its title in texts for people."""

    name: str
    title: str

    def spellings(self) -> tuple[str, str, str]:
        """Return the words that a rename replaces: the name in capitals, the title, and the name.

        If two of them are equal, the replacement of the later one is used.
        """
        return (self.name.upper(), self.title, self.name)


def main() -> int:
    """Rename the service to the name and title in the arguments. Return the exit code."""
    parser = argparse.ArgumentParser(usage=EXAMPLE)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("title", nargs="?", default="")
    arguments = parser.parse_args()
    new = Names(arguments.name, arguments.title or arguments.name.capitalize())
    try:
        print(rename(Names(NAME, TITLE), new))
    except (RenameError, CommandError) as error:
        print(f"rename: {error}", file=sys.stderr)
        return 1
    return 0


def rename(old: Names, new: Names) -> str:
    """Rename the service. Return a text for the user: the changes, and the next steps."""
    _check_format(new)
    _check_no_uncommitted_changes()
    paths = list_files()
    texts = read_texts(paths)
    _check_unused(old, new, texts)
    changed_files = _replace_in_files(old, new, texts)
    moved = _move_files(old, new, paths)
    for command in TIDY_COMMANDS:
        run(sys.executable, "-m", *command)
    summary = (
        f"{old.title} ({old.name}) is now {new.title} ({new.name}): changed {changed_files} files, "
        "formatted the code and wrote openapi.json."
    )
    unchanged = "Licenses and the files of .gitignore, such as .env and .data, are unchanged."
    next_steps = _next_steps(list(moved.values()))
    leftovers = _find_leftovers(old, [moved.get(path, path) for path in paths])
    return "\n".join([summary, unchanged, next_steps, *leftovers])


def _check_format(new: Names) -> None:
    """Raise `RenameError` if the new name or title has forbidden characters or a wrong length."""
    if not VALID_NAME.fullmatch(new.name) or keyword.iskeyword(new.name):
        raise RenameError(
            "NAME must be 3 to 20 lowercase letters and digits, begin with a letter and not be a "
            f"keyword of Python, as in: {EXAMPLE}"
        )
    if not VALID_TITLE.fullmatch(new.title):
        raise RenameError(
            "TITLE must be 3 to 30 letters, digits and single spaces and begin with a capital, "
            f"as in: {EXAMPLE}"
        )


def _check_no_uncommitted_changes() -> None:
    """Raise `RenameError` if `git checkout .` could not undo the rename."""
    if not has_git():
        return
    has_commit = run("git", "ls-files") != ""
    if not has_commit or run("git", "status", "--porcelain", "--untracked-files=no"):
        raise RenameError(
            "commit or stash your changes first, so that `git checkout .` can undo the rename"
        )


def _check_unused(old: Names, new: Names, texts: Mapping[Path, str]) -> None:
    """Raise `RenameError` if the repository already uses the new name for something else.

    A later rename could not distinguish those words from the name of the service.
    """
    if _whole_words_pattern(*old.spellings(), flags=re.IGNORECASE).search(new.title):
        raise RenameError(f"choose another name: {new.title} contains the current one, {old.title}")
    pattern = _whole_words_pattern(*new.spellings())
    for path, text in texts.items():
        # Lines about this command may contain an example of a name, which is not in use.
        lines = [line for line in text.splitlines() if "make rename" not in line]
        relative_path = str(path.relative_to(ROOT))
        match = pattern.search("\n".join([relative_path, *lines]))
        if match is not None:
            raise RenameError(
                f"choose another name: the repository uses the word {match[0]} in {relative_path}"
            )


def _whole_words_pattern(*words: str, flags: int = 0) -> re.Pattern[str]:
    r"""Return a pattern of words without a letter or digit next to them: `name` in `name_test`.

    The letter of an escape sequence may precede a word: the text `"\nname"` contains `name`.
    """
    longest_first = sorted(words, key=len, reverse=True)
    alternatives = "|".join(re.escape(word) for word in longest_first)
    start = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
    return re.compile(rf"{start}(?:{alternatives})(?![A-Za-z0-9])", flags)


def _replace_names(old: Names, new: Names, text: str) -> str:
    """Return the text with the old name and title replaced by the new ones."""
    replacements = dict(zip(old.spellings(), new.spellings(), strict=True))
    return _whole_words_pattern(*replacements).sub(lambda match: replacements[match[0]], text)


def _replace_in_files(old: Names, new: Names, texts: Mapping[Path, str]) -> int:
    """Replace the name in all files except licenses. Return the number of changed files."""
    changed_files = 0
    for path, text in texts.items():
        is_license = any(path.match(pattern) for pattern in LICENSE_PATTERNS)
        new_text = _replace_names(old, new, text)
        if new_text != text and not is_license:
            path.write_bytes(new_text.encode())
            changed_files += 1
    return changed_files


def _move_files(old: Names, new: Names, paths: list[Path]) -> dict[Path, Path]:
    """Move the files whose path contains the old name. Return the new path of each moved file."""
    # Paths get the name in place of the title, because a title may contain spaces.
    path_names = Names(new.name, new.name)
    moved = {}
    for path in paths:
        target = ROOT / _replace_names(old, path_names, str(path.relative_to(ROOT)))
        if target != path:
            move(path, target)
            moved[path] = target
    return moved


def _next_steps(new_paths: list[Path]) -> str:
    """Return the next steps and, if the files are in git, the command that undoes the rename."""
    steps = (
        "Next: set CONTACT and LICENSE in app/__init__.py, run `make openapi check test`, and "
        "commit."
    )
    if not has_git():
        return steps
    undo = "git checkout ."
    if new_paths:
        undo += " && git clean -fq -- " + shlex.join(str(path) for path in new_paths)
    return f"{steps} `{undo}` undoes the rename."


def _find_leftovers(old: Names, paths: list[Path]) -> list[str]:
    """Return the lines of a message about the places that still contain the old name.

    A place is, for example, `  LICENSE:1`. A rename changes neither licenses nor other
    spellings, such as camel case. The list is empty if there are no such places.
    """
    pattern = _whole_words_pattern(*old.spellings(), flags=re.IGNORECASE)
    places = [
        f"  {path.relative_to(ROOT)}:{number}"
        for path, text in read_texts(paths).items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    if not places:
        return []
    return ["These lines still contain the old name:", *places]


if __name__ == "__main__":
    sys.exit(main())
