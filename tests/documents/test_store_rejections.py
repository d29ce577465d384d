"""Object stores that refuse the requests of the service until an operator changes something."""

import logging
import os

import pytest
from httpx import AsyncClient

from app.core.server import _readiness as readiness
from app.core.storage._s3_probe import PROBE_OPTIONS
from app.documents.upload import PART_SIZE
from tests.documents.conftest import UseStore
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS
from tests.support.store_proxy import ErrorResponse, ProxyAction, StoreProxy

SMALL_FILE = b"%PDF-1.7 small"
# The service sends this file in two parts.
LARGE_FILE = bytes(PART_SIZE + 1)
ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SIGNATURE = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
# As Amazon S3 responds: with the access key, the signature, and the text that was signed.
SIGNATURE_DOES_NOT_MATCH = ErrorResponse(
    403,
    "SignatureDoesNotMatch",
    f"<Message>Wrong signature {SIGNATURE} of {ACCESS_KEY_ID}</Message>"
    f"<AWSAccessKeyId>{ACCESS_KEY_ID}</AWSAccessKeyId>"
    f"<StringToSign>AWS4-HMAC-SHA256 {SIGNATURE}</StringToSign>"
    f"<SignatureProvided>{SIGNATURE}</SignatureProvided>",
)
REJECTIONS = {
    "access denied": (
        ErrorResponse(403, "AccessDenied", f"<Message>{ACCESS_KEY_ID} {SIGNATURE}</Message>"),
        "the credentials do not have the permission s3:PutObject",
    ),
    "signature": (SIGNATURE_DOES_NOT_MATCH, "check AWS_SECRET_ACCESS_KEY"),
    "clock": (ErrorResponse(403, "RequestTimeTooSkewed"), "the clock of this server is wrong"),
    "full": (ErrorResponse(507, "XMinioStorageFull"), "the store is full"),
    "unknown code": (
        ErrorResponse(400, "InvalidEncryption", "<Message>Use aws:kms</Message>"),
        "the store refuses the request (PutObject: InvalidEncryption, Use aws:kms)",
    ),
    "empty code": (
        ErrorResponse(403, "", "<Error><Code/></Error>"),
        "the store refuses the credentials",
    ),
    "web server": (
        ErrorResponse(404, "", "<html></html>", "text/html"),
        "a web page responds instead of the store; check S3_ENDPOINT_URL",
    ),
    "proxy": (ErrorResponse(404, "", "no route"), "check S3_BUCKET and S3_ENDPOINT_URL"),
    "page of a web server": (
        ErrorResponse(200, "", "<html></html>"),
        "S3_ENDPOINT_URL is not the URL of an S3 store",
    ),
}


@pytest.fixture(autouse=True)
def long_probe_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give probes more time than a second, because the machine may be busy."""
    monkeypatch.setattr(readiness, "PROBE_TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setitem(PROBE_OPTIONS, "read_timeout", TIMEOUT_SECONDS)


async def check_upload_is_rejected(client: AsyncClient, content: bytes = SMALL_FILE) -> None:
    """Check that an upload is 503, and that the client is not asked to retry."""
    response = await client.post(
        "/documents", data={"name": "Thesis"}, files={"file": ("a.pdf", content)}
    )
    check_problem(response, 503, "unavailable")
    assert "retry-after" not in response.headers
    assert "Retrying does not help" in response.json()["detail"]


@pytest.mark.parametrize("rejection", REJECTIONS)
async def test_rejected_upload_is_sent_once_and_the_log_says_what_to_change(
    rejection: str,
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    response, reason = REJECTIONS[rejection]
    use_store(proxy.origin)
    proxy.set_action(response, "PUT")
    await check_upload_is_rejected(client)
    assert len(proxy.request_lines) == 1
    (record,) = [record for record in caplog.records if "object store" in record.message]
    assert record.levelno == logging.ERROR
    assert reason in record.message
    assert ACCESS_KEY_ID not in caplog.text
    assert SIGNATURE not in caplog.text


async def test_wrong_region_is_named_in_the_log(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore, caplog: pytest.LogCaptureFixture
) -> None:
    use_store(proxy.origin)
    region = "<Region>eu-central-1</Region>"
    proxy.set_action(ErrorResponse(400, "AuthorizationHeaderMalformed", region), "PUT")
    await check_upload_is_rejected(client)
    assert "the bucket is in the region eu-central-1; check S3_REGION" in caplog.text
    # boto3 repeats the request with the signature of the other region.
    assert len(proxy.request_lines) == 2


@pytest.mark.parametrize("request_pattern", ["[?]uploads", "partNumber=1"])
async def test_rejection_of_a_multipart_upload_does_not_ask_for_a_retry(
    request_pattern: str, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ErrorResponse(404, "NoSuchBucket"), request_pattern)
    await check_upload_is_rejected(client, LARGE_FILE)


@pytest.mark.parametrize(
    ("variable", "value"), [("AWS_ACCESS_KEY_ID", "unknown"), ("AWS_SECRET_ACCESS_KEY", "wrong")]
)
async def test_wrong_credentials_are_named_in_the_log_and_by_readyz(
    variable: str,
    value: str,
    client: AsyncClient,
    use_store: UseStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)
    use_store(os.environ["TEST_S3_ENDPOINT_URL"])
    await check_upload_is_rejected(client)
    assert f"check {variable}" in caplog.text
    readiness = await client.get("/readyz")
    assert readiness.status_code == 503
    assert f"check {variable}" in readiness.json()["detail"]


async def test_missing_bucket_is_named_in_the_log(
    client: AsyncClient, use_store: UseStore, caplog: pytest.LogCaptureFixture
) -> None:
    use_store(os.environ["TEST_S3_ENDPOINT_URL"], s3_bucket="missing-bucket")
    await check_upload_is_rejected(client)
    assert "the bucket does not exist; check S3_BUCKET" in caplog.text


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://store.invalid:9000", "the host of S3_ENDPOINT_URL cannot be resolved"),
        ("https://{address}", "S3_ENDPOINT_URL has to begin with http:"),
    ],
)
async def test_wrong_endpoint_is_named_by_readyz(
    endpoint: str, reason: str, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(endpoint.format(address=proxy.origin.removeprefix("http://")))
    readiness = await client.get("/readyz")
    assert readiness.status_code == 503
    assert reason in readiness.json()["detail"]


async def test_readyz_is_503_while_the_store_denies_writes(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.ACCESS_DENIED, "PUT")
    readiness = await client.get("/readyz")
    assert readiness.status_code == 503
    assert readiness.json()["detail"] == (
        "storage: the credentials do not have the permission s3:PutObject"
    )
    proxy.set_action(ProxyAction.PASS)
    assert (await client.get("/readyz")).status_code == 200


async def test_readyz_is_200_after_the_store_has_rejected_an_upload_for_another_reason(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ErrorResponse(400, "EntityTooLarge"), "PUT", count=1)
    await check_upload_is_rejected(client)
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("status_and_code", [(400, "InvalidArgument"), (404, ""), (500, "")])
async def test_readyz_is_200_if_the_store_reports_an_unknown_upload_in_another_way(
    status_and_code: tuple[int, str], client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ErrorResponse(*status_and_code), "PUT")
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("status", "page"),
    [(200, "<html></html>"), (404, "<!doctype html><p>"), (405, "<!doctype html><p>")],
)
async def test_readyz_is_503_while_a_web_page_responds_instead_of_the_store(
    status: int, page: str, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ErrorResponse(status, "", page, "text/html; charset=utf-8"), "PUT")
    assert (await client.get("/readyz")).status_code == 503
    proxy.set_action(ProxyAction.PASS)
    assert (await client.get("/readyz")).status_code == 200


async def test_readyz_checks_write_access_once_a_minute(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    for _ in range(3):
        assert (await client.get("/readyz")).status_code == 200
    methods = [line.split()[0] for line in proxy.request_lines]
    assert methods == ["HEAD", "PUT", "HEAD", "HEAD"]
