"""Compares the signed URLs of an object store with the requests that boto3 sends to it."""

import re
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from urllib3 import HTTPResponse

from app.core.storage import ObjectRequest
from app.core.storage._s3 import S3Bucket


def sign_url(bucket: S3Bucket, key: str) -> str:
    """Return a signed URL for the download of an object."""
    [url], _ = bucket.sign_urls("GET", [ObjectRequest(key, {})], 60)
    return url


def get_signed_address(signed_url: str) -> tuple[str, str]:
    """Return the URL without its signature, and the region that the signature names."""
    [scope] = parse_qs(urlsplit(signed_url).query)["X-Amz-Credential"]
    _, _, region, _, _ = scope.split("/")
    return signed_url.partition("?")[0], region


def capture_call_address(client: Any, bucket_name: str, key: str) -> tuple[str, str]:
    """Return the URL of the request that boto3 sends for an object, and the region it signs.

    The request is captured just before it would be sent.
    """
    requests: list[AWSPreparedRequest] = []

    def capture_request(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        requests.append(request)
        return AWSResponse(request.url, 200, {}, HTTPResponse(BytesIO(), preload_content=False))

    client.meta.events.register("before-send.s3.HeadObject", capture_request)
    client.head_object(Bucket=bucket_name, Key=key)
    [request] = requests
    authorization = request.headers["Authorization"].decode()
    # For example "Credential=ada/20260731/eu-central-1/s3/aws4_request".
    match = re.search(r"Credential=[^/]+/[0-9]+/([^/]+)/s3/", authorization)
    assert match is not None
    return request.url, match[1]
