"""Settings of the object store: invalid ones are refused at startup, before a request fails."""

import pytest

from app.settings import Settings, describe_validation_error
from tests.support.settings import reject_settings

BUCKET = {"s3_bucket": "files"}


def describe_rejection(**values: object) -> str:
    """Return the message for settings that are refused. The bucket is set unless it is named."""
    return describe_validation_error(reject_settings(**{**BUCKET, **values}))


@pytest.mark.parametrize("setting_name", ["s3_endpoint_url", "s3_public_endpoint_url"])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://ada:hunter2@s3.example.com", "Must not contain a user name or password"),
        ("https://ada:hun/ter2@s3.example.com", "Must not contain a user name or password"),
        ("https://s3.example.com?hunter2", "Must not contain a query, a fragment or a blank"),
        ("https://s3.example.com#hunter2", "Must not contain a query, a fragment or a blank"),
        ("https://s3.example.com\nhunter2", "Must not contain a query, a fragment or a blank"),
        ("https://s3.example.com ", "Must not contain a query, a fragment or a blank"),
        ("s3.example.com:hunter2", "Must begin with http:// or https://"),
        ("//s3.example.com", "Must begin with http:// or https://"),
        ("s3://files", "Must begin with http:// or https://"),
        ("http://my_minio:9000", "Must have a host name of ASCII letters"),
        ("http://", "Must have a host name"),
        ("http://:9000", "Must have a host name"),
        ("http://s3..example.com", "Must have a host name"),
        ("http://-s3.example.com", "Must have a host name"),
        ("http://s3-.example.com", "Must have a host name"),
        (f"http://{'a' * 64}.example.com", "Must have a host name"),
        (f"http://{'a.' * 127}example.com", "Must have a host name"),
        ("http://bücher.example", "Must have a host name"),
        ("http://127.1:9000", "Must have a host name"),
        ("http://[::x]:9000", "Must have a host name"),
        ("http://minio:http", "Must have a host name"),
        ("http://minio:0", "Must have a port between 1 and 65535"),
        ("http://minio:65536", "Must have a port between 1 and 65535"),
        ("http://minio//s3", "Must have a path"),
        ("http://minio/a/../s3", "Must have a path"),
        ("http://minio/s%203", "Must have a path"),
    ],
)
def test_invalid_url_of_store_is_rejected_without_repeating_it(
    setting_name: str, url: str, reason: str
) -> None:
    error = reject_settings(**{**BUCKET, setting_name: url})
    sentences = describe_validation_error(error)
    assert sentences.startswith(f"{setting_name.upper()}: {reason}")
    assert "hunter2" not in f"{sentences} {error}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://minio:9000", "http://minio:9000"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://S3.Example.com.", "https://S3.Example.com."),
        ("https://x.supabase.co/storage/v1/s3/", "https://x.supabase.co/storage/v1/s3"),
    ],
)
def test_url_of_store_may_have_path_and_loses_slash_at_its_end(url: str, expected: str) -> None:
    settings = Settings(_env_file=None, s3_bucket="files", s3_endpoint_url=url)
    assert settings.s3_endpoint_url == expected


@pytest.mark.parametrize(
    ("bucket", "reason"),
    [
        *((name, "Must have 3 to 63 ASCII letters") for name in ("fi", "a" * 64, "files/2026")),
        *((name, "Must have 3 to 63 ASCII letters") for name in ("s3://files", "my files", "fi\n")),
        *((name, "Must have 3 to 63 ASCII letters") for name in ("bücher", "-files", "my..files")),
        ("arn:aws:s3:eu-central-1:123456789012:accesspoint/files", "Must not be an ARN"),
        ("files--euc1-az1--x-s3", "Must not be a directory bucket"),
    ],
)
def test_invalid_bucket_is_rejected(bucket: str, reason: str) -> None:
    assert describe_rejection(s3_bucket=bucket).startswith(f"S3_BUCKET: {reason}")


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "my.files", "My_Files", "0-files-s3alias"])
def test_bucket_name_of_any_store_is_accepted(bucket: str) -> None:
    assert Settings(_env_file=None, s3_bucket=bucket).s3_bucket == bucket


@pytest.mark.parametrize(
    "region",
    ["eu central-1", " eu-central-1", "eu-central-1\n", "eu_central_1", "-eu", "eu-", "12", ""],
)
def test_region_that_boto3_refuses_is_rejected(region: str) -> None:
    assert describe_rejection(s3_region=region).startswith("S3_REGION: Must consist of ASCII")


@pytest.mark.parametrize("region", ["eu-central-1", "auto", "garage", "RegionOne"])
def test_region_of_any_store_is_accepted(region: str) -> None:
    assert Settings(_env_file=None, s3_region=region).s3_region == region


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"s3_endpoint_url": "http://127.0.0.1:9000"}, "the host of the store is an IP address"),
        ({"s3_endpoint_url": "http://[::1]:9000"}, "the host of the store is an IP address"),
        ({"s3_public_endpoint_url": "http://10.0.0.1"}, "the host of the store is an IP address"),
        ({"s3_bucket": "my.files"}, "S3_BUCKET has other characters"),
        ({"s3_bucket": "My_Files"}, "S3_BUCKET has other characters"),
    ],
)
def test_virtual_addressing_is_rejected_if_host_name_cannot_contain_bucket(
    values: dict[str, str], reason: str
) -> None:
    sentences = describe_rejection(s3_addressing_style="virtual", **values)
    assert sentences.startswith(f"S3_ADDRESSING_STYLE: Must be auto or path if {reason}")


def test_virtual_addressing_is_rejected_for_embedded_store() -> None:
    sentences = describe_rejection(s3_addressing_style="virtual", s3_bucket=None)
    assert sentences == "S3_ADDRESSING_STYLE: Must be auto or path for the embedded object store"


def test_only_invalid_bucket_is_reported_if_addressing_style_depends_on_it() -> None:
    sentences = describe_rejection(s3_addressing_style="virtual", s3_bucket="a/b")
    assert sentences.splitlines()[1:] == []


@pytest.mark.parametrize("prefix", ["/documents/", "a b/", "büch/", "a\n", "x" * 201])
def test_s3_prefix_with_characters_that_urls_escape_is_invalid(prefix: str) -> None:
    assert describe_rejection(s3_prefix=prefix).startswith("S3_PREFIX: Must consist of at most 200")


@pytest.mark.parametrize("prefix", ["a//", "./", "../a/", "a/../b/", "a/./b"])
def test_s3_prefix_that_clients_normalize_is_invalid(prefix: str) -> None:
    assert describe_rejection(s3_prefix=prefix) == "S3_PREFIX: Must not contain //, ./ or ../"


@pytest.mark.parametrize("prefix", ["", "documents/", "_a/b-1.c/", "a..b/", "a/.x"])
def test_s3_prefix_may_be_empty_or_have_several_parts(prefix: str) -> None:
    assert Settings(_env_file=None, s3_prefix=prefix).s3_prefix == prefix
