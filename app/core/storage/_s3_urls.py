"""Signed URLs, with which a client can send a request to the object store without credentials."""

from collections.abc import Sequence
from urllib.parse import quote

import boto3
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

from app.core.storage._object_store import ObjectRequest
from app.core.storage._s3_clients import create_s3_client


class UrlSigner:
    """Signs URLs of the objects in a bucket."""

    def __init__(self, session: boto3.Session, endpoint: str | None, bucket: str | None) -> None:
        """Sign URLs for the store at this endpoint, or for that of AWS if it is None."""
        self._session = session
        self._bucket_url = _build_bucket_url(session, endpoint, bucket)

    def sign(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> list[str]:
        """Return a signed URL for each request, which is valid for `lifetime_seconds`.

        `method` is the HTTP method of the requests, for example "GET".
        """
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        # boto3's `generate_presigned_url` uses the same signer, but takes three times as long.
        signer = S3SigV4QueryAuth(
            credentials.get_frozen_credentials(),
            "s3",
            self._session.region_name,
            expires=lifetime_seconds,
        )

        signed_urls = []
        for request in requests:
            object_url = self._bucket_url + quote(request.key)
            headers = {}
            if request.content_length is not None:
                # The signer signs every header, so the store refuses a body of another size.
                headers["Content-Length"] = str(request.content_length)
            aws_request = AWSRequest(method, object_url, headers, params=request.parameters)
            # The signature becomes a part of the query.
            signer.add_auth(aws_request)
            signed_urls.append(str(aws_request.url))
        return signed_urls


def _build_bucket_url(session: boto3.Session, endpoint: str | None, bucket: str | None) -> str:
    """Return the URL of the bucket at an endpoint, for example `https://host/bucket/`.

    boto3 decides whether the bucket is a part of the path or of the host name, but it builds only
    the URLs of objects. This function removes the key from the URL of an object.
    """
    client = create_s3_client(session, endpoint, signature_version=UNSIGNED)
    parameters = {"Bucket": bucket, "Key": "key"}
    object_url: str = client.generate_presigned_url("get_object", Params=parameters)
    url_without_query, _, _ = object_url.partition("?")
    return url_without_query.removesuffix("key")
