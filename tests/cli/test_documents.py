"""Tests of `documents verify` with a store that keeps no versions."""

import asyncio
import json
import signal

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from app.core.storage import Storage
from app.documents.verification import _repository as repository
from app.documents.verification import _verifier as verifier
from app.settings import Settings
from tests.support.commands import invoke_command
from tests.support.processes import CommandResult, spawn_command, wait_for_result
from tests.support.store_proxy import ProxyAction, StoreProxy

VERIFY = ("documents", "verify")
PAST_MOMENT = "2026-01-01T00:00:00Z"
CONTENT = b"content"
# The SHA-256 of CONTENT.
SHA256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
_INSERT_OBJECT = "INSERT INTO stored_objects (id, key) VALUES ($1, $2)"
_INSERT_DOCUMENT = """
INSERT INTO documents (id, name, file_id, filename, content_type, size, sha256)
VALUES ($1, $2, $1, 'a.txt', 'text/plain', $3, $4)
"""


class Files:
    """Creates documents with files, whose rows and objects may differ."""

    def __init__(self, connection: asyncpg.Connection, storage: Storage, prefix: str) -> None:
        self.prefix = prefix
        self._connection = connection
        self._storage = storage

    async def create(
        self,
        content: bytes | None = CONTENT,
        *,
        name: str = "Thesis",
        key_format: str = "{prefix}{id}",
    ) -> dict[str, str]:
        """Create a document whose row describes CONTENT. None creates no object.

        Returns what the command prints for it, without the reason.
        """
        file_id = uuid7()
        key = key_format.format(prefix=self.prefix, id=file_id)
        await self._connection.execute(_INSERT_OBJECT, file_id, key)
        await self._connection.execute(_INSERT_DOCUMENT, file_id, name, len(CONTENT), SHA256)
        if content is not None:
            await self._storage.put(key, bytearray(content))
        return {"id": str(file_id), "name": name, "key": key}


@pytest.fixture
def files(outside_connection: asyncpg.Connection, storage: Storage, settings: Settings) -> Files:
    """Creates the documents of the test."""
    return Files(outside_connection, storage, settings.s3_prefix)


def parse_lines(result: CommandResult) -> list[object]:
    """Return the JSON of each line that the command has printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]


async def test_verify_succeeds_without_documents(database_url: str) -> None:
    summary = "Files verified: 0, missing or different: 0\n"
    assert await invoke_command(*VERIFY, DATABASE_URL=database_url) == (0, "", summary)


async def test_verify_reports_documents_without_object_and_with_another_size(
    database_url: str, files: Files
) -> None:
    await files.create()
    missing = await files.create(None, name='Tab\t, line\n and "quotes"\u2028')
    longer = await files.create(CONTENT + b"!")
    result = await invoke_command(*VERIFY, DATABASE_URL=database_url)
    assert parse_lines(result) == [{**missing, "reason": "missing"}, {**longer, "reason": "size"}]
    assert result.stdout.count("\n") == 2
    assert result.exit_code == 1
    assert result.stderr == "Files verified: 3, missing or different: 2\n"


async def test_verify_compares_checksums_only_on_request(database_url: str, files: Files) -> None:
    await files.create()
    changed = await files.create(CONTENT.upper())
    assert (await invoke_command(*VERIFY, DATABASE_URL=database_url)).exit_code == 0
    result = await invoke_command(*VERIFY, "--checksums", DATABASE_URL=database_url)
    assert (result.exit_code, parse_lines(result)) == (1, [{**changed, "reason": "sha256"}])


@pytest.mark.parametrize("max_lists", [0, 1, 10])
async def test_verify_finds_every_file_however_its_key_is_listed(
    database_url: str,
    files: Files,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    max_lists: int,
) -> None:
    monkeypatch.setattr(verifier, "MAX_LISTS_PER_PAGE", max_lists)
    monkeypatch.setattr(repository, "FILE_PAGE_SIZE", 3)
    for key_format in ("{prefix}{id}", "{prefix}old/{id}", "{prefix}{id}.pdf") * 2:
        await files.create(key_format=key_format)
        await storage.put(f"{files.prefix}unknown-{uuid7()}", bytearray(b"?"))
    missing = await files.create(None)
    result = await invoke_command(*VERIFY, DATABASE_URL=database_url)
    assert parse_lines(result) == [{**missing, "reason": "missing"}]
    assert result.stderr == "Files verified: 7, missing or different: 1\n"


async def test_verify_ignores_document_that_is_deleted_in_the_meantime(
    database_url: str, files: Files, outside_connection: asyncpg.Connection, proxy: StoreProxy
) -> None:
    await files.create(None)
    proxy.set_action(ProxyAction.HOLD, "HEAD .*/test/")
    command = asyncio.create_task(
        invoke_command(*VERIFY, DATABASE_URL=database_url, S3_ENDPOINT_URL=proxy.origin)
    )
    await proxy.action_reached.wait()
    await outside_connection.execute("DELETE FROM documents")
    proxy.release.set()
    assert await command == (0, "", "Files verified: 1, missing or different: 0\n")


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        ("yesterday", "Must be a date and time with a time zone"),
        ("2026-11-29T14:00:00", "Must be a date and time with a time zone"),
        ("9999-12-31T23:59:59Z", "Must not be in the future"),
    ],
)
async def test_invalid_moment_is_refused_before_anything_is_read(moment: str, message: str) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    code, out, err = await invoke_command(*VERIFY, "--undelete", moment, DATABASE_URL=url)
    assert (code, out) == (1, "")
    assert err.startswith(f"bookshelf: --undelete: {message}")


async def test_undelete_is_refused_without_versions(database_url: str, files: Files) -> None:
    await files.create(None)
    message = "The bucket does not keep versions, so nothing can be undeleted"
    result = await invoke_command(*VERIFY, "--undelete", PAST_MOMENT, DATABASE_URL=database_url)
    assert result == (1, "", f"bookshelf: {message}\n")


async def test_undelete_names_the_permission_that_is_missing(
    database_url: str, proxy: StoreProxy
) -> None:
    proxy.set_action(ProxyAction.ACCESS_DENIED, "[?]versioning")
    result = await invoke_command(
        *(*VERIFY, "--undelete", PAST_MOMENT),
        DATABASE_URL=database_url,
        S3_ENDPOINT_URL=proxy.origin,
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(" the permission s3:GetBucketVersioning\n")


async def test_verify_fails_without_bucket(database_url: str, files: Files) -> None:
    await files.create()
    code, out, err = await invoke_command(
        *VERIFY, DATABASE_URL=database_url, S3_BUCKET="another-bucket"
    )
    assert (code, out) == (1, "")
    assert err.startswith("bookshelf: object store: the bucket does not exist; ")


async def test_verify_fails_with_one_line_if_store_stops_responding(
    database_url: str, files: Files, proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "FILE_PAGE_SIZE", 1)
    await files.create()
    missing = await files.create(None)
    proxy.set_action(ProxyAction.RESET, f"HEAD .*{missing['id']}")
    code, out, err = await invoke_command(
        *VERIFY, DATABASE_URL=database_url, S3_ENDPOINT_URL=proxy.origin
    )
    assert (code, out) == (1, "")
    assert err == (
        "bookshelf: object store: closes connections."
        " Files verified: 1, missing or different: 0. Run the command again.\n"
    )


async def test_verify_ends_without_message_if_reader_closes_the_pipe(
    database_url: str, files: Files
) -> None:
    for _ in range(2):
        await files.create(None)
    process = await spawn_command(*VERIFY, environment={"DATABASE_URL": database_url})
    assert process.stdout
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert process.stderr
    assert (await process.stderr.read(), await process.wait()) == (b"", 1)


async def test_stopped_verify_exits_with_signal_code(
    database_url: str, files: Files, proxy: StoreProxy
) -> None:
    await files.create(None)
    proxy.set_action(ProxyAction.HOLD, "HEAD .*/test/")
    process = await spawn_command(
        *VERIFY, environment={"DATABASE_URL": database_url, "S3_ENDPOINT_URL": proxy.origin}
    )
    await proxy.action_reached.wait()
    process.send_signal(signal.SIGINT)
    proxy.release.set()
    assert await wait_for_result(process) == (130, "", "")
