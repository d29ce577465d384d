"""The README and the pages of docs/: their commands work, their links lead somewhere."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import cli
from tests.support.documentation import (
    assert_output_matches,
    read_fences,
    read_shell_blocks,
    run_shell_blocks,
)
from tests.support.processes import PROJECT_ROOT, running_server

PAGES = sorted([*PROJECT_ROOT.glob("*.md"), *(PROJECT_ROOT / "docs").rglob("*.md")])
ORIGIN = "http://127.0.0.1:8000"
# Commands that are run by a test of their own, or that would run the whole test suite.
FOLLOWED_ELSEWHERE = {"docs/adding-an-entity.md"}
names = [page.relative_to(PROJECT_ROOT).as_posix() for page in PAGES]
every_page = pytest.mark.parametrize("name", names)


def environment_of_commands(**variables: str) -> dict[str, str]:
    """Return an environment in which `python` is the interpreter of the tests."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **variables}


@pytest.mark.parametrize("name", ["README.md", "docs/api.md"])
async def test_commands_of_a_client_print_what_the_page_shows(name: str, tmp_path: Path) -> None:
    blocks = read_shell_blocks(PROJECT_ROOT / name)
    assert blocks
    async with running_server(DATA_DIR=str(tmp_path)) as (_, origin):
        outputs = await run_shell_blocks(blocks, environment_of_commands(), {ORIGIN: origin})
    for block, output in zip(blocks, outputs, strict=True):
        if block.output is not None:
            assert_output_matches(output, block.output)


async def test_commands_of_an_operator_print_what_the_page_shows(private_database_url: str) -> None:
    blocks = read_shell_blocks(PROJECT_ROOT / "docs" / "operations.md")
    assert blocks
    environment = environment_of_commands(DATABASE_URL=private_database_url)
    outputs = await run_shell_blocks(blocks, environment, {})
    for block, output in zip(blocks, outputs, strict=True):
        if block.output is not None:
            assert_output_matches(output, block.output)


@every_page
def test_every_shell_block_is_run_by_a_test(name: str) -> None:
    page = PROJECT_ROOT / name
    if name in FOLLOWED_ELSEWHERE:
        return
    # `console` blocks show commands that run for long or start services; their names are checked.
    assert not {"sh", "shell", "zsh"} & set(read_fences(page)), "use ```bash or ```console"
    if read_shell_blocks(page):
        assert name in {"README.md", "docs/api.md", "docs/operations.md"}


@every_page
def test_every_command_of_a_page_exists(name: str) -> None:
    text = (PROJECT_ROOT / name).read_text()
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^\$ |&& )make ([a-z]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    commands = get_command(cli)
    assert isinstance(commands, TyperGroup)
    for command in re.findall(r"python -m app ([a-z]+)", text):
        assert command in commands.commands, f"python -m app {command}"
    for program in re.findall(r"^\$ (\S+)", text, re.MULTILINE):
        assert program in {"make", "docker"} or shutil.which(program), program


@every_page
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(name: str) -> None:
    page = PROJECT_ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.is_file(), f"{name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{name}: {target}"


def slug(heading: str) -> str:
    """Return the anchor of a heading: `## Tokens: why?` has `tokens-why`."""
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


def test_readme_is_short() -> None:
    assert len((PROJECT_ROOT / "README.md").read_text().splitlines()) <= 150


def test_operations_page_names_every_command() -> None:
    commands = get_command(cli)
    assert isinstance(commands, TyperGroup)
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"python -m app (\w+)", page)) == set(commands.commands)
