"""A copy of the project whose models can be changed, to write and apply revisions."""

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from tests.support.processes import PROJECT_ROOT, CommandResult, wait_for_result
from tests.support.releases import RELEASED_REVISION

DIRECTORIES = ("app", "checks", "migrations", "tools")
FILES = ("alembic.ini", "pyproject.toml", ".squawk.toml")
# Applies and lints the revisions in one process, which saves seconds.
APPLY = f"""
from alembic import command
from app import schema
from checks import migrations

config = schema.alembic_config()
command.upgrade(config, "head")
command.check(config)
command.downgrade(config, "{RELEASED_REVISION}")
command.upgrade(config, "head")
raise SystemExit(migrations.main("{RELEASED_REVISION}"))
"""


class Project:
    """A copy of the project whose models can be changed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in DIRECTORIES:
            shutil.copytree(PROJECT_ROOT / name, directory / name)
        for name in FILES:
            shutil.copy(PROJECT_ROOT / name, directory / name)

    async def run(self, module: str, *words: str, database: str = "") -> CommandResult:
        """Run `python -m MODULE` in the copy, with DATABASE_URL set to `database`."""
        return await wait_for_result(await self.start("-m", module, *words, database=database))

    async def start(self, *words: str, database: str) -> Process:
        """Start Python in the copy with the given arguments and DATABASE_URL."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *words),
            cwd=self.directory,
            env={**inherited, "DATABASE_URL": database},
            stdout=PIPE,
            stderr=PIPE,
        )

    async def write_revision(self, message: str) -> list[Path]:
        """Run `make revision` and return the files that it wrote."""
        code, out, err = await self.run("tools.revision", message)
        assert (code, err) == (0, "")
        assert "Review it before you commit it" in out
        assert "`make check` will reject it" not in out
        return [self.directory / name for name in re.findall(r"^Wrote (\S+)$", out, re.MULTILINE)]

    async def assert_applicable(self, revisions: list[Path], database: str) -> None:
        """Check that revisions pass the linter, can be applied, and leave no difference."""
        names = [str(path) for path in revisions]
        for words in (["format", "--check"], ["check"]):
            lint_result = await self.run("ruff", *words, *names)
            assert lint_result.exit_code == 0, lint_result.stdout
        apply_result = await wait_for_result(await self.start("-c", APPLY, database=database))
        assert apply_result.exit_code == 0, apply_result.stdout + apply_result.stderr

    async def upgrade(self, database: str) -> CommandResult:
        """Run `migrate` in the copy."""
        return await self.run("app", "migrate", database=database)

    def add_publishers(self) -> None:
        """Add the table `publishers` to the copy, with a model like that of authors."""
        shutil.copytree(self.directory / "app/authors", self.directory / "app/publishers")
        models = self.directory / "app/publishers/models.py"
        text = models.read_text().replace("authors", "publishers").replace("Author", "Publisher")
        models.write_text(text.replace("sa.String(200))", "sa.String(200), unique=True)"))
        self.replace(
            "app/tables.py",
            ("metadata = ", "from app.publishers.models import Publisher\nmetadata = "),
        )

    def replace(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace the first occurrence of each text in a file of the copy."""
        path = self.directory / name
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)

    def change_books(self) -> None:
        """Add a foreign key, a check, a unique constraint and an index, and remove an index."""
        column = 'publisher_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("documents.id"))'
        check = """sa.CheckConstraint("title <> '-'", name="title_not_dash")"""
        self.replace(
            "app/books/models.py",
            ("    author: Mapped", f"    {column}\n    author: Mapped"),
            ("    __table_args__ = (", f"    __table_args__ = ({check},"),
            ("sa.String(300))", "sa.String(300), unique=True)"),
            ('sa.Index(None, "updated_at", "id")', 'sa.Index(None, "publisher_id", "title", "id")'),
        )
