"""Types of the settings of the object store: its URL, its region, and the bucket."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from app.settings._types import MAX_PORT, is_canonical_host

_URL: Final = re.compile(
    r"https?://(?P<host>\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]+))?(?P<path>/[^?#]*)?"
)
# For example "/storage/v1/s3". The segments . and .. are excluded, because clients resolve them.
_PATH: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
# boto3 refuses other host names, for example those with an underscore.
_HOST_NAME: Final = re.compile(
    r"((?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.?"
)
_MAX_HOST_LENGTH: Final = 255
_IP_ADDRESS: Final = re.compile(r"\[.*\]|[0-9.]+")
# Amazon has not allowed upper case and underscores since 2018, but other stores do.
_BUCKET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_DIRECTORY_BUCKET_SUFFIX: Final = "--x-s3"
# boto3 refuses other regions, because the region is a part of host names.
_REGION: Final = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# The characters that URLs do not escape.
_PREFIX: Final = re.compile(r"([A-Za-z0-9_.-][A-Za-z0-9_./-]{0,199})?")
_BUCKET_IN_HOST_NAME: Final = re.compile(r"[a-z0-9-]+")


def require_virtual_addressing(url: str | None, bucket: str) -> None:
    """Require that the bucket can be a part of the host name, for S3_ADDRESSING_STYLE=virtual.

    If it cannot, boto3 would put it into the path. `url` is None for Amazon S3.
    """
    if url is not None and _has_ip_address(url):
        raise ValueError("Must be auto or path if the host of the store is an IP address")
    if not _BUCKET_IN_HOST_NAME.fullmatch(bucket):
        raise ValueError(
            "Must be auto or path if S3_BUCKET has other characters than a-z, 0-9 and hyphens"
        )


def _require_store_url(url: str) -> str:
    """Require the base URL of a store. Messages contain it, so it must not have credentials.

    Returns the URL without slashes at its end.
    """
    if "@" in url:
        raise ValueError("Must not contain a user name or password")
    if not url.startswith(("http://", "https://")):
        raise ValueError("Must begin with http:// or https://, as in https://s3.example.com")
    if re.search(r"[?#\s]", url):
        raise ValueError("Must not contain a query, a fragment or a blank")
    url = url.rstrip("/")
    match = _URL.fullmatch(url)
    if match is None or not _is_host(match["host"]):
        raise ValueError(
            "Must have a host name of ASCII letters, digits and hyphens between dots (boto3 allows"
            " no underscores), or an IP address in the usual form"
        )
    port = match["port"]
    if port is not None and not 1 <= int(port) <= MAX_PORT:
        raise ValueError("Must have a port between 1 and 65535")
    if not _PATH.fullmatch(match["path"] or ""):
        raise ValueError("Must have a path of ASCII letters, digits and ._~- between slashes")
    return url


def _has_ip_address(url: str) -> bool:
    """Return whether the host of a valid URL of a store is an IP address."""
    match = _URL.fullmatch(url)
    return match is not None and _IP_ADDRESS.fullmatch(match["host"]) is not None


def _is_host(host: str) -> bool:
    """Return whether boto3 and browsers understand a host in the same way."""
    if not is_canonical_host(host) or len(host) > _MAX_HOST_LENGTH:
        return False
    return host.startswith("[") or _HOST_NAME.fullmatch(host) is not None


def _require_bucket_name(bucket: str) -> str:
    """Require the name of a bucket, and not an ARN or a path."""
    if bucket.startswith("arn:"):
        raise ValueError("Must not be an ARN. Use the alias of the access point, which is a name")
    if bucket.endswith(_DIRECTORY_BUCKET_SUFFIX):
        raise ValueError("Must not be a directory bucket, which signed URLs cannot use")
    if not _BUCKET_NAME.fullmatch(bucket) or ".." in bucket:
        raise ValueError(
            "Must have 3 to 63 ASCII letters, digits and ._- (no slash), and begin and end with a"
            " letter or digit"
        )
    return bucket


def _require_region(region: str) -> str:
    """Require the name of a region that boto3 accepts, of any store."""
    if not _REGION.fullmatch(region):
        raise ValueError(
            "Must consist of ASCII letters, digits and hyphens, and begin with a letter, as in"
            " eu-central-1"
        )
    return region


def _require_prefix(prefix: str) -> str:
    """Require a prefix of keys that no client and no store changes when it normalizes a path."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(
            "Must consist of at most 200 ASCII letters, digits and _.-/, and not begin with a slash"
        )
    # The id of an object follows the last slash.
    *segments, _ = prefix.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ValueError("Must not contain //, ./ or ../")
    return prefix


# The base URL of an object store, for example "https://s3.example.com".
StoreUrl = Annotated[str, AfterValidator(_require_store_url)]
BucketName = Annotated[str, AfterValidator(_require_bucket_name)]
Region = Annotated[str, AfterValidator(_require_region)]
KeyPrefix = Annotated[str, AfterValidator(_require_prefix)]
