"""Tests that other users of the machine cannot read the data of the embedded servers."""

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app import embedded
from app.embedded.postgresql import get_program_path
from tests.support import servers
from tests.support.factories import make_document
from tests.support.processes import running_server

pytestmark = pytest.mark.slow

# The id of a user who owns nothing. Processes of `nobody` run with another id.
STRANGER_UID = 12345
NOBODY_UID = 65534
only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def without_umask() -> Iterator[None]:
    """Create files with all permissions that a program requests, also in new processes."""
    previous_umask = os.umask(0)
    try:
        yield
    finally:
        os.umask(previous_umask)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet, in a directory that everybody can enter."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    return tmp_path / "data"


def permissions_of_others(directory: Path) -> dict[str, str]:
    """Return the mode of each entry that other users can read, write or enter, with its path.

    Directories that other users cannot enter protect everything in them.
    """
    permissions = {}
    for entry in (directory, *directory.iterdir()):
        mode = entry.lstat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            permissions[str(entry)] = stat.filemode(mode)
    return permissions


def run_as(uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as another user, without privileges."""
    switch_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return subprocess.run([*switch_user, *command], check=False, capture_output=True, text=True)


async def test_new_data_directory_is_private_without_umask(data_dir: Path) -> None:
    with without_umask():
        async with (
            running_server(DATA_DIR=str(data_dir)) as (_, origin),
            httpx.AsyncClient(base_url=origin) as client,
        ):
            await make_document(client, content=b"secret")
            assert permissions_of_others(data_dir) == {}
            [stored_file] = (data_dir / "s3" / embedded.BUCKET).rglob("documents/*")
            assert stat.S_IMODE(stored_file.stat().st_mode) == 0o600


def test_existing_data_directory_becomes_private(data_dir: Path) -> None:
    with without_umask():
        (data_dir / "s3" / embedded.BUCKET).mkdir(parents=True)
        for name in ("s3.log", "s3.lock", "s3.draft", "postgres.log", "postgres.lock"):
            (data_dir / name).touch()
        (data_dir / "run").mkdir()
        if os.geteuid() == 0:
            os.chown(data_dir / "run", NOBODY_UID, -1)
        with (
            embedded.run_s3_server(data_dir),
            embedded.run_postgres(data_dir, servers.SETTINGS_WITHOUT_DURABILITY),
        ):
            assert permissions_of_others(data_dir) == {}


def test_mode_of_directory_with_other_files_does_not_change(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "index.html").touch()
    data_dir.chmod(0o755)
    with embedded.run_s3_server(data_dir):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755
        assert set(permissions_of_others(data_dir)) == {
            str(data_dir), str(data_dir / "index.html")
        }  # fmt: skip


@only_as_root
@pytest.mark.parametrize("subdirectory", ["short", "a-rather-long-name/" * 6])
def test_other_users_can_neither_read_files_nor_connect_to_postgres(
    subdirectory: str, data_dir: Path
) -> None:
    # If the path is too long for a socket, the socket is in another directory.
    directory = data_dir / subdirectory
    directory.mkdir(parents=True)
    with (
        without_umask(),
        embedded.run_s3_server(directory),
        embedded.run_postgres(directory, servers.SETTINGS_WITHOUT_DURABILITY) as postgres,
    ):
        psql = (get_program_path("psql"), "-U", "postgres", "-c", "SELECT 1")
        for uid in (STRANGER_UID, NOBODY_UID):
            connection = run_as(uid, *psql, "-h", str(postgres.socket_dir))
            assert connection.returncode != 0
            assert "Permission denied" in connection.stderr
            assert "Permission denied" in run_as(uid, "ls", str(directory)).stderr


def test_arguments_of_processes_do_not_contain_the_key_of_the_store(data_dir: Path) -> None:
    with embedded.run_s3_server(data_dir) as store:
        processes = subprocess.run(["ps", "-eww", "-o", "args"], check=True, capture_output=True)
        assert str(data_dir).encode() in processes.stdout
        assert store.secret_access_key.encode() not in processes.stdout
        assert json.loads((data_dir / "s3.json").read_text())["endpoint"] == store.endpoint


def test_store_refuses_requests_without_its_key(data_dir: Path) -> None:
    with embedded.run_s3_server(data_dir) as store:
        for path in ("", f"/{embedded.BUCKET}", f"/{embedded.BUCKET}/documents/1"):
            assert httpx.get(store.endpoint + path).is_client_error
        assert httpx.put(f"{store.endpoint}/{embedded.BUCKET}/new", content=b"").is_client_error


@only_as_root
def test_store_does_not_start_in_a_directory_of_another_user(data_dir: Path) -> None:
    (data_dir / "s3").mkdir(parents=True)
    os.chown(data_dir / "s3", STRANGER_UID, -1)
    with pytest.raises(embedded.EmbeddedError) as error_info, embedded.run_s3_server(data_dir):
        pass
    assert str(error_info.value) == (
        f"{data_dir / 's3'} belongs to user {STRANGER_UID}."
        " Set DATA_DIR to a directory that belongs to you."
    )


@only_as_root
def test_store_does_not_use_a_file_of_another_user(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "s3.log").touch()
    os.chown(data_dir / "s3.log", STRANGER_UID, -1)
    with embedded.run_s3_server(data_dir):
        assert (data_dir / "s3.log").stat().st_uid == 0
    os.chown(data_dir / "s3.lock", STRANGER_UID, -1)
    with pytest.raises(embedded.EmbeddedError), embedded.run_s3_server(data_dir):
        pass
