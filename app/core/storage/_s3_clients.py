"""boto3 clients for the object store."""

from typing import Any

import boto3
from botocore.config import Config

from app.core.storage._s3_requests import MAX_ATTEMPTS, register_request_handlers

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 20


def create_s3_client(session: boto3.Session, endpoint: str | None, **options: Any) -> Any:
    """Create a boto3 client for the object store at this URL, or for that of AWS if it is None.

    `options` are arguments of boto3's `Config`, such as `read_timeout=1`. They override the
    defaults below.
    """
    default_options = {
        "signature_version": "s3v4",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": READ_TIMEOUT_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
    }
    addressing_style = "auto"
    if endpoint is not None:
        # Put the bucket into the path of the URL instead of the host name, because a host such as
        # `localhost` has no subdomains.
        addressing_style = "path"

    config = Config(
        **{**default_options, **options},
        # Otherwise, a signed URL would require a checksum that browsers do not send.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": addressing_style,
            # TLS protects the payload, so do not compute a hash of each part to sign it.
            "payload_signing_enabled": False,
        },
    )
    client = session.client("s3", endpoint_url=endpoint, config=config)
    register_request_handlers(client)
    return client
