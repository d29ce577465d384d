"""boto3 clients for the object store."""

from typing import Any

import boto3
from botocore.config import Config

from app.core.storage._s3_bodies import MAX_ATTEMPTS, register_request_handlers

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 20


def create_s3_client(
    session: boto3.Session, endpoint: str | None, addressing_style: str, **options: Any
) -> Any:
    """Create a boto3 client for an object store.

    Args:
        session: The region and the credentials.
        endpoint: The URL of the store. None for that of AWS, or for another one that the
            environment variable `AWS_ENDPOINT_URL_S3` or a configuration file of boto3 names.
        addressing_style: "path" puts the bucket into the path of URLs, and "virtual" into the host
            name. With "auto", boto3 chooses "virtual" for AWS if the name of the bucket can be a
            part of a host name, and "path" for other stores.
        options: Arguments of boto3's `Config`, such as `read_timeout=1`. They override the
            defaults below.
    """
    default_options = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": READ_TIMEOUT_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
    }
    s3_options = {
        "addressing_style": addressing_style,
        # TLS protects the payload, so do not compute a hash of each part to sign it.
        "payload_signing_enabled": False,
    }
    if endpoint is not None:
        # A configuration file of boto3 may choose the accelerated endpoint of AWS.
        s3_options["use_accelerate_endpoint"] = False
    config = Config(
        **{**default_options, **options},
        signature_version="s3v4",
        # Otherwise, a signed URL would require a checksum that browsers do not send.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=s3_options,
    )
    client = session.client("s3", endpoint_url=endpoint, config=config)
    register_request_handlers(client)
    return client
