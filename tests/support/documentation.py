"""Shell blocks of Markdown pages, and the comparison of their output with that of the page."""

import asyncio
import re
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import PROJECT_ROOT

# A block of shell commands and, if a text block follows immediately, the output that it shows.
_SHELL_BLOCK = re.compile(
    r"^```bash\n(?P<script>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_FENCE = re.compile(r"^```(\w*)$", re.MULTILINE)
_UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_REQUEST_ID = re.compile(r"\b[0-9a-f]{32}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_END_OF_BLOCK = "=== end of block ==="


@dataclass(frozen=True)
class ShellBlock:
    """A ```bash block of a page. `output` is the ```text block that follows it, if any."""

    script: str
    output: str | None


def read_shell_blocks(page: Path) -> list[ShellBlock]:
    return [
        ShellBlock(match["script"], match["output"])
        for match in _SHELL_BLOCK.finditer(page.read_text())
    ]


def read_code(page: Path, heading: str, language: str) -> str:
    """Return the code of all blocks in a section of a page, for example in "python".

    The heading is one of the second level, without its signs.
    """
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```\n", section, re.DOTALL | re.MULTILINE)
    assert blocks
    return "\n".join(blocks)


def read_fences(page: Path) -> list[str]:
    """Return the language of each fenced block, "" for a block without one."""
    # Every second fence ends a block.
    return _FENCE.findall(page.read_text())[::2]


async def run_shell_blocks(
    blocks: list[ShellBlock], environment: Mapping[str, str], replace: Mapping[str, str]
) -> list[str]:
    """Run the blocks of a page one after the other, in one shell, and return their outputs.

    Every text that is a key of `replace`, such as the URL of the service in the page, is replaced
    before the shell runs. Fails if a command fails.
    """
    script = f"\necho '{_END_OF_BLOCK}'\n".join(block.script for block in blocks)
    for old, new in replace.items():
        script = script.replace(old, new)
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        script,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=PROJECT_ROOT,
        env=dict(environment),
    )
    output, _ = await shell.communicate()
    assert shell.returncode == 0, output.decode()
    return output.decode().split(f"{_END_OF_BLOCK}\n")


def assert_output_matches(actual: str, shown: str) -> None:
    """Check that a page shows the output of its commands.

    `...` in the page stands for any text. Ids, times and line breaks may differ.
    """
    parts = [re.escape(_normalize(part)) for part in shown.split("...")]
    assert re.fullmatch(".*?".join(parts), _normalize(actual)), f"{actual}\n\nis not\n\n{shown}"


def _normalize(text: str) -> str:
    for pattern, placeholder in ((_UUID, "ID"), (_REQUEST_ID, "ID"), (_TIME, "TIME")):
        text = pattern.sub(placeholder, text)
    return re.sub(r"[\r\n]+", "", text)
