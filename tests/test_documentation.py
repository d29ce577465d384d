"""The README and the pages of docs/: their commands work, their links lead somewhere."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
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

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
    for page in PROJECT_ROOT.glob(pattern)
)
ORIGIN = "http://127.0.0.1:8000"
# Pages whose shell blocks are run by tests below, or by tests/tools/test_adding_an_entity.py.
CLIENT_PAGES = ("README.md", "docs/api.md")
COMMANDS_PAGE = "docs/operations/commands.md"
# The later pages use what the commands of the earlier ones have created.
OPERATIONS_PAGES = ("docs/operations.md", COMMANDS_PAGE, "docs/operations/access.md")
# `make clients` runs the blocks of docs/clients.md.
TESTED_PAGES = {*CLIENT_PAGES, *OPERATIONS_PAGES, "docs/adding-an-entity.md", "docs/clients.md"}
every_page = pytest.mark.parametrize(
    "name", [page.relative_to(PROJECT_ROOT).as_posix() for page in PAGES]
)


async def check_shell_blocks(
    name: str, variables: Mapping[str, str], replace: Mapping[str, str]
) -> None:
    """Run the shell blocks of a page, and check that they print what the page shows.

    `python` is the interpreter of the tests. `replace` is described at `run_shell_blocks`.
    """
    blocks = read_shell_blocks(PROJECT_ROOT / name)
    assert blocks
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    outputs = await run_shell_blocks(blocks, {**os.environ, "PATH": path, **variables}, replace)
    for block, output in zip(blocks, outputs, strict=True):
        if block.output is not None:
            assert_output_matches(output, block.output)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENT_PAGES)
async def test_commands_of_a_client_print_what_the_page_shows(name: str, tmp_path: Path) -> None:
    async with running_server(DATA_DIR=str(tmp_path)) as (_, origin):
        await check_shell_blocks(name, {}, {ORIGIN: origin})


@pytest.mark.slow
async def test_commands_of_an_operator_print_what_the_pages_show(private_database_url: str) -> None:
    for name in OPERATIONS_PAGES:
        await check_shell_blocks(name, {"DATABASE_URL": private_database_url}, {})


@every_page
def test_every_shell_block_is_run_by_a_test(name: str) -> None:
    page = PROJECT_ROOT / name
    # `console` blocks show commands that run for long or start services; their names are checked.
    assert not {"sh", "shell", "zsh"} & set(read_fences(page)), "use ```bash or ```console"
    if read_shell_blocks(page):
        assert name in TESTED_PAGES


@every_page
def test_every_command_of_a_page_exists(name: str) -> None:
    text = (PROJECT_ROOT / name).read_text()
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^\$ |&& )make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for command in re.findall(r"python -m app ([a-z]+)", text):
        assert command in command_names(), f"python -m app {command}"
    for program in re.findall(r"^\$ (\S+)", text, re.MULTILINE):
        assert program in {"make", "docker", "psql", "kubectl"} or shutil.which(program), program


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


def test_page_about_commands_names_every_command() -> None:
    page = (PROJECT_ROOT / COMMANDS_PAGE).read_text()
    assert set(re.findall(r"python -m app (\w+)", page)) == command_names()


def command_names() -> set[str]:
    """Return the commands of `python -m app`."""
    commands = get_command(cli)
    assert isinstance(commands, TyperGroup)
    return set(commands.commands)
