"""Signed URLs promise no more time than temporary credentials last."""

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app import embedded
from app.core.errors import Unavailable
from app.core.storage import ObjectRequest, Storage
from app.settings import Settings
from tests.support.factories import make_document
from tests.support.resources import replace_resources

KEY = "documents/1"
LIFETIME_SECONDS = 3600


class CredentialProcess:
    """A program that boto3 runs to get temporary credentials.

    It prints the first line of a file and removes it, unless it is the last one.
    """

    def __init__(self, directory: Path) -> None:
        self._outputs_file = directory / "outputs"
        script = directory / "print_credentials.py"
        script.write_text(
            "import pathlib, sys\n"
            "outputs = pathlib.Path(sys.argv[1])\n"
            "first, *others = outputs.read_text().splitlines()\n"
            "outputs.write_text('\\n'.join(others or [first]))\n"
            "print(first)\n"
        )
        command = f"{sys.executable} {script} {self._outputs_file}"
        self.config_file = directory / "config"
        self.config_file.write_text(f"[default]\ncredential_process = {command}\n")

    def set_outputs(self, *outputs: str) -> None:
        self._outputs_file.write_text("\n".join(outputs))


@pytest.fixture
def credential_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CredentialProcess:
    process = CredentialProcess(tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(process.config_file))
    return process


@pytest.fixture
def secret_access_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Remove the credentials of the store from the environment, and return the secret key."""
    secret_access_key = os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return secret_access_key


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    storage = Storage(settings)
    yield storage
    storage.close()


def describe_credentials(secret_access_key: str, expires_in: timedelta | None) -> str:
    """Return what the program prints, with the time at which the credentials expire."""
    credentials = {
        "Version": 1,
        "AccessKeyId": embedded.rclone.ACCESS_KEY_ID,
        "SecretAccessKey": secret_access_key,
    }
    if expires_in is not None:
        expires_at = datetime.now(UTC) + expires_in
        credentials["Expiration"] = expires_at.isoformat()
    return json.dumps(credentials)


async def sign_url(storage: Storage) -> tuple[str, datetime]:
    requests = [ObjectRequest(KEY, {})]
    [url], expires_at = await storage.sign_urls("GET", requests, LIFETIME_SECONDS)
    return url, expires_at


async def test_url_expires_with_temporary_credentials(
    credential_process: CredentialProcess, secret_access_key: str, storage: Storage
) -> None:
    output = describe_credentials(secret_access_key, timedelta(minutes=20))
    credential_process.set_outputs(output)
    await storage.put(KEY, bytearray(b"%PDF"))
    url, expires_at = await sign_url(storage)
    credentials_expire_at = datetime.fromisoformat(json.loads(output)["Expiration"])
    assert expires_at == credentials_expire_at.replace(microsecond=0)
    [seconds] = parse_qs(urlsplit(url).query)["X-Amz-Expires"]
    assert int(seconds) <= timedelta(minutes=20).total_seconds()
    async with AsyncClient(trust_env=False) as store_client:
        assert (await store_client.get(url)).content == b"%PDF"


@pytest.mark.parametrize("expires_in", [timedelta(hours=2), None])
async def test_url_lasts_as_long_as_configured_if_credentials_last_longer(
    expires_in: timedelta | None,
    credential_process: CredentialProcess,
    secret_access_key: str,
    storage: Storage,
) -> None:
    credential_process.set_outputs(describe_credentials(secret_access_key, expires_in))
    before = datetime.now(UTC).replace(microsecond=0)
    url, expires_at = await sign_url(storage)
    assert before <= expires_at - timedelta(seconds=LIFETIME_SECONDS) <= datetime.now(UTC)
    assert f"X-Amz-Expires={LIFETIME_SECONDS}&" in url


async def test_credentials_that_expire_soon_are_renewed_before_urls_are_signed(
    credential_process: CredentialProcess, secret_access_key: str, storage: Storage
) -> None:
    credential_process.set_outputs(
        describe_credentials(secret_access_key, timedelta(minutes=5)),
        describe_credentials(secret_access_key, timedelta(hours=2)),
    )
    _, expires_at = await sign_url(storage)
    assert expires_at - datetime.now(UTC) > timedelta(seconds=LIFETIME_SECONDS - 60)


async def test_url_expires_with_credentials_of_environment_if_their_expiration_is_set(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials_expire_at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", credentials_expire_at.isoformat())
    url, expires_at = await sign_url(storage)
    assert expires_at == credentials_expire_at
    assert "X-Amz-Security-Token=token" in url


@pytest.mark.parametrize(
    "output", ["expired", "no time zone", "", "not JSON", '{"Version": 1}', '{"Version": 2}']
)
async def test_unusable_credentials_are_unavailable(
    output: str, credential_process: CredentialProcess, secret_access_key: str, storage: Storage
) -> None:
    if output == "expired":
        output = describe_credentials(secret_access_key, timedelta(hours=-1))
    if output == "no time zone":
        output = describe_credentials(secret_access_key, timedelta(hours=1)).replace("+00:00", "")
    credential_process.set_outputs(output)
    with pytest.raises(Unavailable):
        await sign_url(storage)


async def test_document_and_direct_upload_expire_with_temporary_credentials(
    app: FastAPI,
    client: AsyncClient,
    credential_process: CredentialProcess,
    secret_access_key: str,
    storage: Storage,
    settings: Settings,
) -> None:
    settings.signed_url_ttl = LIFETIME_SECONDS
    output = describe_credentials(secret_access_key, timedelta(minutes=20))
    credential_process.set_outputs(output)
    replace_resources(app, storage=storage)
    document = await make_document(client, content=b"%PDF")
    announced_file = {"filename": "a", "content_type": "text/plain", "size": 1}
    path = f"/documents/{document['id']}/uploads"
    upload = (await client.post(path, json=announced_file)).json()
    latest = datetime.fromisoformat(json.loads(output)["Expiration"])
    for time in (document["file_url_expires_at"], upload["expires_at"]):
        assert datetime.fromisoformat(time) == latest.replace(microsecond=0)
