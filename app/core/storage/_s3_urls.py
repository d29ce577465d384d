"""Signed URLs, with which a client can send a request to the object store without credentials."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import boto3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from app.core.storage._object_store import ObjectRequest

# The key of an object that does not have to exist.
_EXAMPLE_KEY: Final = "key"


class BucketAddress(NamedTuple):
    """Where a client sends its requests for a bucket, and the region that its signatures name."""

    url: str  # for example https://files.s3.eu-central-1.amazonaws.com/
    region: str


def find_bucket_address(client: Any, bucket: str | None) -> BucketAddress:
    """Return the address that a boto3 client uses for a bucket. Send nothing.

    boto3 derives the address from its arguments, from environment variables such as
    `AWS_USE_FIPS_ENDPOINT`, from configuration files, and from earlier redirects to another region.
    No method returns it: `generate_presigned_url` names another host in many regions. This function
    therefore lets the client build a request, and stops it before it is signed.

    Only one thread may use the client in the meantime.
    """
    addresses = []

    def record_address(
        params: dict[str, Any], context: dict[str, Any], **_: object
    ) -> tuple[AWSResponse, dict[str, Any]]:
        bucket_url = params["url"].removesuffix(_EXAMPLE_KEY)
        addresses.append(BucketAddress(bucket_url, context["signing"]["region"]))
        # boto3 does not send a request if a handler of the event returns a response.
        return AWSResponse(params["url"], 200, {}, None), {}

    client.meta.events.register_first("before-call.s3.GetObject", record_address)
    try:
        client.get_object(Bucket=bucket, Key=_EXAMPLE_KEY)
    finally:
        client.meta.events.unregister("before-call.s3.GetObject", record_address)
    return addresses[0]


class UrlSigner:
    """Signs URLs of the objects in a bucket with the credentials of a session."""

    def __init__(self, session: boto3.Session, address: BucketAddress) -> None:
        self._session = session
        self._address = address

    def sign(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> tuple[list[str], datetime]:
        """Return a signed URL for each request, and the time at which all of them expire.

        They expire after `lifetime_seconds`, or with the temporary credentials, if that is earlier.
        `method` is the HTTP method of the requests, for example "GET".
        """
        credentials, credentials_expire_at = self._get_credentials()
        # A signature contains the current time in whole seconds. This time is rounded in the same
        # way, so that clients can use the URLs until `expires_at`.
        now = datetime.now(UTC).replace(microsecond=0)
        expires_at = now + timedelta(seconds=lifetime_seconds)
        if credentials_expire_at is not None:
            expires_at = min(expires_at, credentials_expire_at)
        signed_seconds = max(1, int((expires_at - now).total_seconds()))

        # boto3's `generate_presigned_url` uses the same signer, but takes three times as long.
        signer = S3SigV4QueryAuth(credentials, "s3", self._address.region, expires=signed_seconds)
        signed_urls = []
        for request in requests:
            object_url = self._address.url + quote(request.key)
            headers = {}
            if request.content_length is not None:
                # The signer signs every header, so the store refuses a body of another size.
                headers["Content-Length"] = str(request.content_length)
            aws_request = AWSRequest(method, object_url, headers, params=request.parameters)
            # The signature becomes a part of the query.
            signer.add_auth(aws_request)
            signed_urls.append(str(aws_request.url))
        return signed_urls, expires_at

    def _get_credentials(self) -> tuple[ReadOnlyCredentials, datetime | None]:
        """Return the current credentials, and the time at which they expire.

        The time is None if they do not expire, or if boto3 does not know when they do: it knows
        this of AWS_SESSION_TOKEN only if AWS_CREDENTIAL_EXPIRATION is set, too.
        """
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        if not isinstance(credentials, RefreshableCredentials):
            return credentials.get_frozen_credentials(), None

        # Renew credentials that expire within 15 minutes, so that the URLs are valid for longer.
        credentials.get_frozen_credentials()
        # Read the time before the credentials. If another thread renews them in between, the time
        # is too early rather than too late.
        expires_at: datetime | None = credentials._expiry_time  # noqa: SLF001 (boto3 has no method)
        if expires_at is not None:
            expires_at = expires_at.astimezone(UTC).replace(microsecond=0)
        return credentials.get_frozen_credentials(), expires_at
