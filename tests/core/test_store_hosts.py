"""Signed URLs work with a real store that finds the bucket in the host name or behind a path."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import AsyncClient, Client

from app.core.storage import ObjectRequest
from app.core.storage._s3 import S3Bucket
from app.settings import Settings
from tests.support.prefix_proxy import prefix_proxy
from tests.support.stores import Store, running_seaweedfs

KEY = "documents/1"
BODY = b"%PDF-1.7"


@pytest.fixture(scope="module")
def seaweedfs() -> Iterator[Store]:
    with running_seaweedfs() as store:
        yield store


@pytest.fixture(autouse=True)
def store_environment(seaweedfs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the credentials, and let every name that ends with .localhost mean this machine.

    Browsers and curl do the same, but not every operating system.
    """
    seaweedfs.set_credentials(monkeypatch)
    resolve = socket.getaddrinfo

    def resolve_locally(host: Any, *args: Any, **options: Any) -> Any:
        if str(host).endswith(".localhost"):
            host = "127.0.0.1"
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_locally)


@pytest.fixture
def store_client() -> Iterator[Client]:
    with Client(trust_env=False) as client:
        yield client


def open_bucket(store: Store, **changes: object) -> S3Bucket:
    settings = Settings(_env_file=None, s3_bucket=store.bucket, **changes)  # type: ignore[arg-type]
    return S3Bucket(settings, max_connections=1)


def sign_url(bucket: S3Bucket, method: str, **parameters: str) -> str:
    content_length = len(BODY) if method == "PUT" else None
    [url], _ = bucket.sign_urls(method, [ObjectRequest(KEY, parameters, content_length)], 60)
    return url


def test_bucket_in_host_name_serves_calls_and_signed_urls(
    seaweedfs: Store, store_client: Client
) -> None:
    endpoint = seaweedfs.endpoint.replace("127.0.0.1", "localhost")
    bucket = open_bucket(seaweedfs, s3_endpoint_url=endpoint, s3_addressing_style="virtual")
    bucket.ping()
    bucket.put(KEY, bytearray(BODY))
    upload_id = bucket.start_multipart_upload(KEY)
    urls = {
        "GET": sign_url(bucket, "GET"),
        "HEAD": sign_url(bucket, "HEAD"),
        "PUT": sign_url(bucket, "PUT", partNumber="1", uploadId=upload_id),
    }
    for method, url in urls.items():
        assert url.startswith(f"http://{seaweedfs.bucket}.localhost:")
        content = BODY if method == "PUT" else None
        assert store_client.request(method, url, content=content).status_code == 200
    assert store_client.get(urls["GET"]).content == BODY
    assert [part.size for part in bucket.list_parts(KEY, upload_id)] == [len(BODY)]
    bucket.close()


def test_signed_url_has_public_endpoint_and_is_valid_there(
    seaweedfs: Store, store_client: Client
) -> None:
    bucket = open_bucket(
        seaweedfs,
        s3_endpoint_url=seaweedfs.endpoint,
        s3_public_endpoint_url=seaweedfs.endpoint.replace("127.0.0.1", "localhost"),
    )
    bucket.put(KEY, bytearray(BODY))
    url = sign_url(bucket, "GET")
    assert url.startswith("http://localhost:")
    assert store_client.get(url).content == BODY
    bucket.close()


async def test_signature_of_endpoint_with_path_covers_path(seaweedfs: Store) -> None:
    async with (
        prefix_proxy(seaweedfs.endpoint, removes_prefix=True) as endpoint,
        AsyncClient(trust_env=False) as store_client,
    ):
        bucket = open_bucket(
            seaweedfs, s3_endpoint_url=seaweedfs.endpoint, s3_public_endpoint_url=f"{endpoint}/"
        )
        bucket.put(KEY, bytearray(BODY))
        url = sign_url(bucket, "GET")
        assert url.startswith(f"{endpoint}/{seaweedfs.bucket}/{KEY}?")
        # The store computes the signature of the path that the client used from this header.
        headers = {"X-Forwarded-Prefix": "/api"}
        assert (await store_client.get(url, headers=headers)).content == BODY
        assert (await store_client.get(url)).status_code == 403
        bucket.close()
