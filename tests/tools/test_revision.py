"""`make revision` in a copy of the project: what it writes applies, is complete and is safe."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from app import schema
from tests.support.project_copy import Project
from tests.support.upgrades import ADVISORY_LOCK, wait_until_both_wait

NEWEST = str(ScriptDirectory.from_config(schema.alembic_config()).get_current_head())
NEXT, SECOND_NEXT = (f"{int(NEWEST) + number:04}" for number in (1, 2))
IS_VALID = """
SELECT indexrelid::regclass::text AS name, indisvalid AS is_valid
FROM pg_index WHERE indrelid = 'books'::regclass
UNION ALL
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'books'::regclass
"""
TWO_BOOKS_WITH_ONE_TITLE = """
INSERT INTO authors (id, name) VALUES (gen_random_uuid(), 'Ursula K. Le Guin');
INSERT INTO books (id, title, author_id)
SELECT gen_random_uuid(), 'Lavinia', authors.id FROM authors, generate_series(1, 2);
"""
# This lock_timeout would end an upgrade that waits in Postgres for the lock of the other one. With
# this isolation, an open transaction keeps a snapshot, for whose end concurrent builds wait.
SET_OPTIONS_OF_REQUESTS = """
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET lock_timeout = 1', current_database());
    EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable',
        current_database());
END $$
"""
UP_TO_DATE = (0, "The schema is at head.\n", "")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "copy")


@pytest.fixture(scope="module")
async def changed_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with revisions of a table that exists, which tests read and apply."""
    project = Project(tmp_path_factory.mktemp("changed") / "copy")
    project.change_books()
    await project.write_revision("add publishers of books")
    return project


async def validity(connection: asyncpg.Connection) -> dict[str, bool]:
    """Return whether each index and each constraint of books is valid."""
    return {row["name"]: row["is_valid"] for row in await connection.fetch(IS_VALID)}


async def test_revision_fails_with_one_line_without_message(project: Project) -> None:
    code, out, err = await project.run("tools.revision", "")
    assert (code, out) == (1, "")
    assert err == 'Describe the revision, for example: make revision MESSAGE="create publishers"\n'


async def test_revision_writes_no_file_without_a_difference(project: Project) -> None:
    before = sorted((project.directory / "migrations").rglob("*.py"))
    code, out, err = await project.run("tools.revision", "nothing")
    assert (code, err) == (0, "")
    assert "no revision was written" in out
    assert out.count("\n") == 1
    assert sorted((project.directory / "migrations").rglob("*.py")) == before


async def test_revision_of_new_table_applies_without_changes(
    project: Project, private_database_url: str
) -> None:
    project.add_publishers()
    (path,) = await project.write_revision("create publishers")
    name = rf"\d{{4}}_\d\d_\d\d_\d{{4}}-{NEXT}_create_publishers\.py"
    assert re.fullmatch(name, path.name)
    head = f'"""Create publishers.\n\nRevision: {NEXT}, after {NEWEST}\n"""'
    assert path.read_text().startswith(head)
    await project.assert_applicable([path], private_database_url)


async def test_revisions_of_existing_table_do_not_block_writes(
    changed_project: Project, private_database_url: str
) -> None:
    revisions = sorted((changed_project.directory / "migrations" / "versions").glob("*.py"))
    first, second = revisions[-2:]
    assert first.name.endswith(f"-{NEXT}_add_publishers_of_books.py")
    assert second.name.endswith(f"-{SECOND_NEXT}_finish_{NEXT}_without_blocking_writes.py")
    assert first.read_text().count("postgresql_not_valid=True") == 2
    assert "concurrently" not in first.read_text()
    assert "postgresql_concurrently=True, if_not_exists=True" in re.sub(
        r"\s+", " ", second.read_text()
    )
    await changed_project.assert_applicable([first, second], private_database_url)
    connection = await asyncpg.connect(private_database_url)
    valid = await validity(connection)
    await connection.close()
    assert "ix_books_updated_at_id" not in valid
    assert "ix_books_publisher_id_title_id" in valid
    assert "fk_books_publisher_id_documents" in valid
    assert "ck_books_title_not_dash" in valid
    assert "uq_books_title" in valid
    assert all(valid.values())


async def test_revision_may_have_names_of_more_than_63_characters(
    project: Project, private_database_url: str
) -> None:
    column = "author_of_the_previous_edition_of_the_very_same_book_id"
    foreign_key = 'mapped_column(sa.ForeignKey("documents.id"), unique=True)'
    index = f'sa.Index(None, "{column}", "created_at", "id")'
    project.replace(
        "app/books/models.py",
        (
            "    author: Mapped",
            f"    {column}: Mapped[UUID | None] = {foreign_key}\n    author: Mapped",
        ),
        ("    __table_args__ = (", f"    __table_args__ = ({index},"),
    )
    revisions = await project.write_revision("add previous editions")
    await project.assert_applicable(revisions, private_database_url)
    connection = await asyncpg.connect(private_database_url)
    valid = await validity(connection)
    await connection.close()
    assert len([name for name in valid if "author_of_the_previous" in name]) == 3
    assert all(valid.values())


async def test_concurrent_build_that_failed_is_repeated_by_the_next_upgrade(
    changed_project: Project, private_database_url: str
) -> None:
    connection = await asyncpg.connect(private_database_url)
    await connection.execute(TWO_BOOKS_WITH_ONE_TITLE)
    failed = await changed_project.upgrade(private_database_url)
    assert failed.exit_code == 1
    assert 'could not create unique index "uq_books_title"' in failed.stderr
    assert (await validity(connection))["uq_books_title"] is False
    await connection.execute("DELETE FROM books")
    assert await changed_project.upgrade(private_database_url) == UP_TO_DATE
    assert all((await validity(connection)).values())
    await connection.close()


async def test_two_upgrades_with_a_concurrent_build_both_end(
    changed_project: Project, private_database_url: str
) -> None:
    connection = await asyncpg.connect(private_database_url)
    await connection.execute(SET_OPTIONS_OF_REQUESTS)
    await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    upgrades = [
        asyncio.create_task(changed_project.upgrade(private_database_url)) for _ in range(2)
    ]
    await wait_until_both_wait(connection, upgrades)
    await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK)
    results = await asyncio.gather(*upgrades)
    assert [result[:2] for result in results] == [UP_TO_DATE[:2]] * 2
    assert all((await validity(connection)).values())
    await connection.close()


async def test_revision_prints_advice_of_squawk_if_it_is_not_safe(project: Project) -> None:
    column = "    pages: Mapped[int]\n"
    project.replace("app/books/models.py", ("    author: Mapped", f"{column}    author: Mapped"))
    code, out, _ = await project.run("tools.revision", "add pages of books")
    assert code == 0
    assert "`make check` will reject it" in out
    assert "adding-required-field" in out
