"""Signed URLs name the host, the path and the region that boto3 itself uses for the bucket."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.loaders import Loader
from botocore.session import get_session

from app.core.storage._object_store import StoreRejected
from app.core.storage._s3 import S3Bucket
from app.core.storage._s3_clients import create_s3_client
from app.core.storage._s3_urls import find_bucket_address
from app.settings import Settings
from tests.support.store_addresses import capture_call_address, get_signed_address, sign_url

KEY = "documents/0199b2f4-6a4e-7d1c-8000-000000000001"
SUPABASE = "https://x.supabase.co/storage/v1/s3"


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Set credentials, and return the path of boto3's configuration file, which is empty."""
    config_file = tmp_path / "config"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ada")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config_file))
    return config_file


def create_client(
    region: str = "eu-central-1", endpoint: str | None = None, style: str = "auto"
) -> Any:
    """Create a client as `S3Bucket` does, but read the description of S3 only once per process."""
    session = get_session()
    session.register_component("data_loader", shared_loader())
    boto3_session = boto3.Session(botocore_session=session, region_name=region)
    return create_s3_client(boto3_session, endpoint, style)


@cache
def shared_loader() -> Loader:
    return Loader()


def open_bucket(**changes: object) -> S3Bucket:
    settings = Settings(_env_file=None, **{"s3_bucket": "files", **changes})  # type: ignore[arg-type]
    return S3Bucket(settings, max_connections=1)


def list_regions() -> Iterator[str]:
    session = boto3.Session()
    for partition in session.get_available_partitions():
        yield from session.get_available_regions("s3", partition, allow_non_regional=True)


def test_address_is_that_of_calls_in_every_region_of_every_partition() -> None:
    regions = set(list_regions())
    assert {"eu-central-1", "cn-north-1", "us-gov-west-1", "il-central-1"} < regions
    botocore_session = get_session()
    session = boto3.Session(botocore_session=botocore_session)
    for region in regions:
        botocore_session.set_config_variable("region", region)
        client = create_s3_client(session, None, "auto")
        for bucket_name in ("files", "my.files"):
            address = find_bucket_address(client, bucket_name)
            call_address = capture_call_address(client, bucket_name, KEY)
            assert (address.url + KEY, address.region) == call_address


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-east-1", "https://files.s3.amazonaws.com/"),
        ("eu-central-1", "https://files.s3.eu-central-1.amazonaws.com/"),
        ("cn-north-1", "https://files.s3.cn-north-1.amazonaws.com.cn/"),
        ("us-gov-west-1", "https://files.s3.us-gov-west-1.amazonaws.com/"),
        # A region that opened after this version of boto3.
        ("xx-north-9", "https://files.s3.xx-north-9.amazonaws.com/"),
    ],
)
def test_address_names_region_of_bucket(region: str, url: str) -> None:
    assert find_bucket_address(create_client(region), "files") == (url, region)


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "files.s3-fips.eu-central-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "files.s3.dualstack.eu-central-1.amazonaws.com"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "files.s3-fips.dualstack.eu-central-1.amazonaws.com",
        ),
        # The region of the service is S3_REGION.
        ({"AWS_DEFAULT_REGION": "us-west-2"}, "files.s3.eu-central-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL_S3": "http://minio:9000"}, "minio:9000/files"),
        ({"AWS_ENDPOINT_URL": "http://minio:9000/"}, "minio:9000/files"),
        (
            {
                "AWS_ENDPOINT_URL": "http://minio:9000",
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            },
            "files.s3.eu-central-1.amazonaws.com",
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "http://minio:9000", "AWS_USE_FIPS_ENDPOINT": "true"},
            "minio:9000/files",
        ),
    ],
)
def test_address_is_that_of_calls_if_environment_of_boto3_changes_it(
    variables: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = create_client()
    url, region = find_bucket_address(client, "files")
    assert (url + KEY, region) == capture_call_address(client, "files", KEY)
    assert (url.partition("://")[2], region) == (f"{host}/", "eu-central-1")


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ("endpoint_url = http://minio:9000/", "http://minio:9000/files/"),
        ("s3 =\n  use_accelerate_endpoint = true", "https://files.s3-accelerate.amazonaws.com/"),
        (
            "services = local\n[services local]\ns3 =\n  endpoint_url = http://ceph:7480",
            "http://ceph:7480/files/",
        ),
    ],
)
def test_address_is_that_of_calls_if_configuration_file_of_boto3_changes_it(
    config: str, url: str, aws_environment: Path
) -> None:
    aws_environment.write_text(f"[default]\n{config}\n")
    client = create_client()
    address = find_bucket_address(client, "files")
    assert (address.url + KEY, address.region) == capture_call_address(client, "files", KEY)
    assert address == (url, "eu-central-1")


def test_endpoint_has_precedence_over_configuration_file_of_boto3(aws_environment: Path) -> None:
    aws_environment.write_text(
        "[default]\nendpoint_url = http://ceph\nuse_fips_endpoint = true\n"
        "s3 =\n  use_accelerate_endpoint = true\n  addressing_style = virtual\n"
    )
    client = create_client(endpoint="http://minio:9000")
    address = find_bucket_address(client, "files")
    assert address == ("http://minio:9000/files/", "eu-central-1")


def test_invalid_endpoint_of_boto3_is_reported_as_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://my_minio:9000")
    with pytest.raises(StoreRejected) as error_info:
        open_bucket()
    assert error_info.value.reason.startswith("the configuration is invalid")


@pytest.mark.parametrize(
    ("endpoint", "style", "bucket_name", "bucket_url"),
    [
        (None, "path", "files", "https://s3.eu-central-1.amazonaws.com/files/"),
        (None, "auto", "my.files", "https://s3.eu-central-1.amazonaws.com/my.files/"),
        ("https://s3.example.com", "auto", "files", "https://s3.example.com/files/"),
        ("https://s3.example.com", "auto", "My_Files", "https://s3.example.com/My_Files/"),
        ("https://s3.example.com", "virtual", "files", "https://files.s3.example.com/"),
        ("http://s3.example.com:9000", "virtual", "files", "http://files.s3.example.com:9000/"),
        (SUPABASE, "auto", "files", f"{SUPABASE}/files/"),
        (f"{SUPABASE}/", "auto", "my.files", f"{SUPABASE}/my.files/"),
        (SUPABASE, "virtual", "files", "https://files.x.supabase.co/storage/v1/s3/"),
        ("http://[::1]:9000", "auto", "files", "http://[::1]:9000/files/"),
    ],
)
def test_address_is_that_of_calls_for_endpoint_and_addressing_style(
    endpoint: str | None, style: str, bucket_name: str, bucket_url: str
) -> None:
    client = create_client(endpoint=endpoint, style=style)
    address = find_bucket_address(client, bucket_name)
    assert (address.url + KEY, address.region) == capture_call_address(client, bucket_name, KEY)
    assert address == (bucket_url, "eu-central-1")


def test_signed_url_names_region_of_bucket() -> None:
    url = sign_url(open_bucket(s3_region="eu-central-1"), KEY)
    assert get_signed_address(url) == (
        f"https://files.s3.eu-central-1.amazonaws.com/{KEY}",
        "eu-central-1",
    )


@pytest.mark.parametrize(
    ("style", "public_url"),
    [
        ("auto", "https://cdn.example.com/s3/files/"),
        ("virtual", "https://files.cdn.example.com/s3/"),
    ],
)
def test_signed_url_begins_with_public_endpoint_if_calls_use_another_one(
    style: str, public_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio:9000")
    bucket = open_bucket(
        s3_region="auto",
        s3_addressing_style=style,
        s3_public_endpoint_url="https://cdn.example.com/s3/",
    )
    assert get_signed_address(sign_url(bucket, KEY)) == (public_url + KEY, "auto")
    url, region = capture_call_address(bucket._client, "files", KEY)
    assert ("minio:9000" in url, region) == (True, "auto")


def test_signature_covers_path_and_region_of_endpoint() -> None:
    bucket = open_bucket(s3_endpoint_url=SUPABASE, s3_region="eu-central-1")

    def sign_with_boto3() -> str:
        parameters = {"Bucket": "files", "Key": KEY}
        url: str = bucket._client.generate_presigned_url("get_object", parameters, ExpiresIn=60)
        return url

    # Both have to be signed in the same second.
    urls = [sign_with_boto3(), sign_url(bucket, KEY), sign_with_boto3()]
    while urls[0] != urls[2]:
        urls = [sign_with_boto3(), sign_url(bucket, KEY), sign_with_boto3()]
    assert urls[1] == urls[0]


def test_key_with_prefix_is_quoted_as_boto3_quotes_it() -> None:
    bucket = open_bucket(s3_endpoint_url="http://minio:9000")
    key = "team a/ñ+(1)/~documents/x"
    url, _ = get_signed_address(sign_url(bucket, key))
    assert url == capture_call_address(bucket._client, "files", key)[0]
