"""Tests of the log of errors of the object store, and of the connection to it."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, SSLError
from botocore.stub import Stubber
from urllib3.exceptions import NameResolutionError, NewConnectionError

from app.core.storage import StoreFailed
from app.core.storage import _s3_clients as s3_clients
from app.core.storage._s3 import S3Bucket
from app.core.storage._s3_bodies import is_checksum_required
from app.core.storage._s3_reasons import explain_exception, explain_response
from app.documents.upload import PART_SIZE
from tests.support.connections import tcp_server
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

URL = "https://store.example.com/bucket/key"


def make_response_error(
    status: int, code: str | None, message: str = "", operation: str = "UploadPart"
) -> ClientError:
    """Return the error that boto3 raises for an error response of the store."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    return ClientError(response, operation)


@pytest.mark.parametrize(
    ("status", "code", "operation", "reason"),
    [
        (404, "NoSuchBucket", "PutObject", "S3_BUCKET"),
        (404, "404", "HeadBucket", "S3_BUCKET"),
        (403, "AccessDenied", "UploadPart", "permission s3:PutObject"),
        (403, "AccessDenied", "ListMultipartUploads", "permission s3:ListBucketMultipartUploads"),
        (403, "AccessDenied", "DeleteObject", "permission s3:DeleteObject"),
        (403, "AccessDenied", "AssumeRoleWithWebIdentity", "sts:AssumeRoleWithWebIdentity"),
        (403, "403", "HeadBucket", "or they do not have the permission s3:ListBucket"),
        (403, None, "UploadPart", "the store refuses the credentials"),
        (403, "InvalidAccessKeyId", "UploadPart", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "UploadPart", "AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", "UploadPart", "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "UploadPart", "clock"),
        (301, "PermanentRedirect", "UploadPart", "another region; check S3_REGION"),
        (400, "AuthorizationHeaderMalformed", "UploadPart", "S3_REGION"),
        (507, "507", "UploadPart", "full"),
        (403, "QuotaExceeded", "UploadPart", "full"),
        (400, "EntityTooLarge", "UploadPart", "MAX_UPLOAD_SIZE"),
        (501, "NotImplemented", "ListParts", "does not support"),
        (400, "KMS.DisabledException", "UploadPart", "encryption key"),
        (403, "InvalidObjectState", "GetObject", "archived"),
        (400, "InvalidRequest", "UploadPart", "the store refuses the request"),
    ],
)
def test_permanent_error_says_what_to_change(
    status: int, code: str, operation: str, reason: str
) -> None:
    failure = explain_response(make_response_error(status, code, operation=operation))
    assert failure.is_permanent
    assert reason in failure.reason


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (429, "TooManyRequests"),
        (409, "OperationAborted"),
        (500, "InternalError"),
        (502, "502"),
        (200, "InternalError"),
        (400, "RequestTimeout"),
        (400, "BadDigest"),
        (408, "408"),
    ],
)
def test_error_that_may_pass_is_temporary(status: int, code: str) -> None:
    assert not explain_response(make_response_error(status, code)).is_permanent


@pytest.mark.parametrize(
    ("error", "is_permanent", "reason"),
    [
        (NoCredentialsError(), True, "AWS_ACCESS_KEY_ID"),
        (
            SSLError(endpoint_url=URL, error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            True,
            "AWS_CA_BUNDLE",
        ),
        (SSLError(endpoint_url=URL, error="UNEXPECTED_EOF_WHILE_READING"), False, "TLS"),
        (
            EndpointConnectionError(
                endpoint_url=URL,
                error=NameResolutionError("host", None, socket.gaierror()),  # type: ignore[arg-type]
            ),
            False,
            "cannot be resolved",
        ),
        (
            EndpointConnectionError(
                endpoint_url=URL,
                error=NewConnectionError(None, "Connection refused"),  # type: ignore[arg-type]
            ),
            False,
            "does not accept connections",
        ),
    ],
)
def test_failed_connection_says_what_failed(
    error: Exception, is_permanent: bool, reason: str
) -> None:
    failure = explain_exception(error)
    assert failure.is_permanent == is_permanent
    assert reason in failure.reason


@pytest.mark.parametrize(
    ("code", "message", "is_required"),
    [
        (
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests",
            True,
        ),
        ("MissingContentMD5", "Missing required header for this request: Content-Md5.", True),
        ("BadDigest", "The Content-MD5 you specified did not match what we received.", False),
        ("InvalidDigest", "The Content-MD5 you specified is not valid.", False),
        ("AccessDenied", "Access Denied", False),
    ],
)
def test_only_an_error_about_a_missing_checksum_asks_for_one(
    code: str, message: str, is_required: bool
) -> None:
    assert is_checksum_required(make_response_error(400, code, message)) == is_required


def test_bucket_in_another_region_of_amazon_is_not_usable() -> None:
    bucket = S3Bucket(make_settings(UNREACHABLE_DATABASE_URL, s3_endpoint_url=None), 1)
    response = {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-central-1"}}}
    stubber = Stubber(bucket._probe._client)
    stubber.add_response("head_bucket", response)
    with stubber, pytest.raises(StoreFailed) as error_info:
        bucket.ping()
    assert error_info.value.reason == "the bucket is in the region eu-central-1; check S3_REGION"


async def test_part_is_stored_over_a_connection_that_needs_longer_than_the_connect_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def receive_slowly(reader: StreamReader, writer: StreamWriter) -> None:
        # Otherwise, the kernel would buffer the whole part.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(0, PART_SIZE, 128 * 1024):
            await reader.readexactly(128 * 1024)
            # About 12 MiB per second.
            await asyncio.sleep(0.01)
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n')

    monkeypatch.setattr(s3_clients, "CONNECT_TIMEOUT_SECONDS", 0.25)
    async with tcp_server(receive_slowly) as address:
        settings = make_settings(UNREACHABLE_DATABASE_URL, s3_endpoint_url=f"http://{address}")
        bucket = S3Bucket(settings, 1)
        etag = await asyncio.to_thread(bucket.upload_part, "a", "1", 1, bytearray(PART_SIZE))
        bucket.close()
    assert etag == '"1"'
