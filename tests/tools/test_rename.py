"""Tests of `make rename`, in copies of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from app import NAME, TITLE
from tools.repository import ROOT, list_files_without_git, read_texts

pytestmark = pytest.mark.slow

# The longest and the shortest names. No line may become too long, and imports must stay sorted.
LONG = ("zebracrossingservice", "Zebra Crossing Service Manager")
SHORT = ("zqx", "Zqx")
# If a git hook runs the tests, git would use the repository of the hook.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
NEEDS_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
BINARY = f"{NAME}\0".encode()


class Renamed(NamedTuple):
    """A renamed copy of the repository, and the output of the command."""

    root: Path
    output: str


def copy_repository(source: Path, target: Path) -> Path:
    """Copy all files except this one. Its names are in use, so `make rename` would refuse them."""
    for path in list_files_without_git(source):
        if path.name == Path(__file__).name:
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return target


def run_git(root: Path, *command: str) -> None:
    subprocess.run(["git", *command], cwd=root, env=ENVIRONMENT, check=True)


def commit_everything(root: Path) -> None:
    """Create a git repository and commit all files."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    commit = ("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", "Copy")
    run_git(root, "init", "--quiet")
    run_git(root, "add", "--all")
    run_git(root, *identity, *commit)


def run_module(root: Path, *command: str) -> tuple[int, str]:
    """Return the exit code and the output of `python -m COMMAND` in a copy."""
    process = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout


def find_words(root: Path, *words: str) -> list[str]:
    """Return where words occur in the files and paths of a copy, for example "README.md: NAME"."""
    pattern = re.compile(rf"(?<![a-z0-9])({'|'.join(words)})(?![a-z0-9])", re.IGNORECASE)
    return [
        f"{path.relative_to(root)}: {match[0]}"
        for path, text in read_texts(list_files_without_git(root)).items()
        for match in pattern.finditer(f"{path.relative_to(root)}\n{text}")
    ]


def assert_checks_pass(root: Path) -> None:
    """Check that a copy is formatted, passes the linter and has an up-to-date openapi.json."""
    for command in (
        ("ruff", "format", "--check", "."),
        ("ruff", "check", "."),
        ("checks.openapi",),
    ):
        code, output = run_module(root, *command)
        assert code == 0, output


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for commands that change nothing."""
    return copy_repository(ROOT, tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Renamed:
    """A copy that was renamed to the longest names."""
    root = copy_repository(ROOT, tmp_path_factory.mktemp("renamed"))
    package = root / "tests" / f"{NAME}_files"
    package.mkdir()
    (package / f"{TITLE}.txt").write_bytes(rf'"{NAME}\n{TITLE}"'.encode() + b"\r\n")
    (root / "picture.bin").write_bytes(BINARY)
    (root / "LICENSE").write_text(f"Copyright the authors of {TITLE}\n")
    (root / ".env").write_text(f"S3_BUCKET={NAME}\n")
    if shutil.which("git"):
        commit_everything(root)
    code, output = run_module(root, "tools.rename", *LONG)
    assert code == 0, output
    return Renamed(root, output)


def test_rename_replaces_the_name_everywhere_but_in_licenses_and_ignored_files(
    renamed: Renamed,
) -> None:
    assert find_words(renamed.root, NAME, TITLE) == [f"LICENSE: {TITLE}"]
    assert "still contain the old name:\n  LICENSE:1\n" in renamed.output
    assert "set CONTACT and LICENSE in app/__init__.py" in renamed.output
    assert (renamed.root / ".env").read_text() == f"S3_BUCKET={NAME}\n"
    assert (renamed.root / "picture.bin").read_bytes() == BINARY


def test_rename_moves_files_and_removes_empty_directories(renamed: Renamed) -> None:
    name, title = LONG
    moved = renamed.root / "tests" / f"{name}_files" / f"{name}.txt"
    assert moved.read_bytes() == rf'"{name}\n{title}"'.encode() + b"\r\n"
    assert not (renamed.root / "tests" / f"{NAME}_files").exists()


def test_renamed_repository_passes_the_checks(renamed: Renamed) -> None:
    assert_checks_pass(renamed.root)


def test_renamed_service_has_its_name_in_the_openapi_document(renamed: Renamed) -> None:
    name, title = LONG
    # `checks.openapi` compares the file with the document of `create_app`.
    text = (renamed.root / "openapi.json").read_text()
    document = json.loads(text)
    assert document["info"]["title"] == title
    types = re.findall(r"urn:problem-type:(\w+):", text)
    assert set(types) == {name}
    token = document["components"]["schemas"]["AccessToken"]["properties"]["access_token"]
    assert token["examples"] == [f"{name}_<72 hexadecimal digits>"]


def test_renamed_repository_can_be_renamed_again_without_git(
    renamed: Renamed, tmp_path: Path
) -> None:
    root = copy_repository(renamed.root, tmp_path)
    (root / "LICENSE").unlink()
    code, output = run_module(root, "tools.rename", SHORT[0])
    assert code == 0, output
    assert "git checkout" not in output
    assert find_words(root, NAME, *LONG) == []
    assert f'TITLE: Final = "{SHORT[1]}"' in (root / "app" / "__init__.py").read_text()
    assert_checks_pass(root)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "NAME must be 3 to 20"),
        (("Order desk",), "NAME must be 3 to 20"),
        (("ab",), "NAME must be 3 to 20"),
        (("a" * 21,), "NAME must be 3 to 20"),
        (("9lives",), "NAME must be 3 to 20"),
        (("lambda",), "NAME must be 3 to 20"),
        ((LONG[0], "order desk"), "TITLE must be 3 to 30"),
        ((LONG[0], "Order  Desk"), "TITLE must be 3 to 30"),
        ((LONG[0], "Orders & more"), "TITLE must be 3 to 30"),
        ((LONG[0], "A" * 31), "TITLE must be 3 to 30"),
        ((LONG[0], TITLE), f"choose another name: {TITLE} contains"),
        (("books",), "choose another name: the repository uses the word books in"),
        ((LONG[0], "Authors"), "choose another name: the repository uses the word Authors in"),
        ((NAME,), "choose another name: "),
    ],
)
def test_rename_fails_with_one_line_for_invalid_names(
    original: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    code, output = run_module(original, "tools.rename", *arguments)
    assert code == 1
    assert output.startswith(f"rename: {sentence}")
    assert output.count("\n") == 1


@NEEDS_GIT
def test_rename_refuses_a_repository_with_uncommitted_changes(tmp_path: Path) -> None:
    root = copy_repository(ROOT, tmp_path)
    commit_everything(root)
    with (root / "README.md").open("a") as readme:
        readme.write("\n")
    code, output = run_module(root, "tools.rename", *LONG)
    assert code == 1
    assert output.startswith("rename: commit or stash your changes first")


@NEEDS_GIT
def test_rename_refuses_a_repository_without_a_commit(tmp_path: Path) -> None:
    root = copy_repository(ROOT, tmp_path)
    run_git(root, "init", "--quiet")
    code, output = run_module(root, "tools.rename", *LONG)
    assert code == 1
    assert output.startswith("rename: commit or stash your changes first")
