"""What the README promises works when pasted."""

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import cli
from tests.support.processes import PROJECT_ROOT, running_server

README = (PROJECT_ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
FAILURES = EXAMPLES.pop(2)  # of the first two


async def pasted(script: str, origin: str) -> str:
    """What a shell prints."""
    command = ("bash", "-euc", script.replace("http://127.0.0.1:8000", origin))
    shell = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, cwd=PROJECT_ROOT
    )
    output, errors = await shell.communicate()
    assert shell.returncode == 0, errors.decode()
    return output.decode()


async def test_the_curl_lines_work_when_pasted(tmp_path: Path) -> None:
    failures = FAILURES.replace("curl -s ", "curl -s -w '\\n' ")
    async with running_server(DATA_DIR=str(tmp_path)) as (_, origin):
        output = await pasted(f"{''.join(EXAMPLES)}\necho ---\n{failures}", origin)
    examples, _, problems = output.partition("---\n")
    assert '"title":"The Dispossessed: An Ambiguous Utopia"' in examples
    assert '"email":"Ada@example.com"' in examples
    assert "the same bytes" in examples
    assert examples.count('"filename":"Makefile"') == 3
    assert "correct horse" not in examples
    statuses = [json.loads(line)["status"] for line in problems.splitlines()]
    promised = re.search(r"these answer ([\d, and]+):", README)
    assert promised
    assert statuses == [int(number) for number in re.findall(r"\d+", promised[1])]


async def test_one_gets_from_a_registration_to_an_upload_where_access_is_closed(
    private_database_url: str,
) -> None:
    async with running_server(DATABASE_URL=private_database_url, ANONYMOUS_ACCESS="none") as (
        _,
        origin,
    ):
        output = await pasted(EXAMPLES[-1], origin)
    assert '"email":"grace@example.com","role":"member"' in output
    assert '"name":"My notes","filename":"README.md"' in output
    assert '"name":"laptop"' in output
    assert "nanosecond" not in output


def test_architecture_page_names_every_file_of_the_application() -> None:
    page = (PROJECT_ROOT / "docs" / "architecture.md").read_text()
    tree = page.split("## Packages")[1].split("```")[1]
    for path in (PROJECT_ROOT / "app").rglob("*.py"):
        if not path.name.startswith("__"):
            assert re.search(rf"\b{path.name}\b", tree), path


def test_the_readme_names_every_command() -> None:
    commands = get_command(cli)
    assert isinstance(commands, TyperGroup)
    assert set(re.findall(r"python -m app (\w+)", README)) == set(commands.commands)


@pytest.mark.parametrize("target", re.findall(r"^```\nmake (\w+)", README, re.MULTILINE))
def test_the_make_targets_of_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)
