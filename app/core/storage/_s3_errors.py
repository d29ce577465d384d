"""Errors of boto3, translated to those that every `ObjectStore` raises."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from app.core.storage._object_store import ObjectNotFound, StoreFailed, StoreRejected
from app.core.storage._s3_reasons import Failure, explain_exception, explain_response
from app.core.storage._s3_responses import get_error_code, is_not_found

MAX_MESSAGE_LENGTH: Final = 300  # characters
# The messages of these errors may contain the access key, the signature or the text to sign.
_CONFIDENTIAL_CODES: Final = {
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
# An access key of AWS, and other long runs that may be a key, a token or a signature.
_SECRET: Final = re.compile("(AKIA|ASIA)[A-Z0-9]{12,}|[A-Za-z0-9+/=]{32,}")
# boto3 raises built-in errors for an invalid endpoint, and for credentials that are expired or in
# another form than it expects.
_BOTO3_ERRORS: Final = (BotoCoreError, ResponseParserError, ValueError, TypeError, RuntimeError)
log = logging.getLogger(__name__)


@contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Replace each error that boto3 raises in the block by one of those of `ObjectStore`.

    Logs why the store failed, unless the only reason is that an object does not exist. The function
    can also be used as a decorator.
    """
    try:
        yield
    except ClientError as error:
        # The store has responded, but with an error.
        if is_not_found(error):
            raise ObjectNotFound from error
        failure = explain_response(error)
        raise _log_failure(failure, _describe_response(error)) from error
    except (*_BOTO3_ERRORS, OSError, KeyError) as error:
        # KeyError: a successful response lacks an element that every S3 store sends.
        failure = explain_exception(error)
        raise _log_failure(failure, _describe_exception(error)) from error


def _log_failure(failure: Failure, details: str) -> StoreFailed:
    """Log why a request to the store failed. Return the error to raise."""
    if failure.is_permanent:
        log.error("the object store rejects a request: %s (%s)", failure.reason, details)
        return StoreRejected(failure.reason, failure.category)
    log.warning("a request to the object store failed: %s (%s)", failure.reason, details)
    return StoreFailed(failure.reason, failure.category)


def _describe_response(error: ClientError) -> str:
    """Return the operation, the error code and the message, for example "PutObject: SlowDown"."""
    code = get_error_code(error.response)
    message = error.response["Error"].get("Message") or code
    description = f"{error.operation_name}: {_remove_secrets(code)}"
    if code in _CONFIDENTIAL_CODES or message == code:
        return description
    return f"{description}, {_remove_secrets(message)}"


def _describe_exception(error: Exception) -> str:
    """Return the class of an error, and the host and port of the store if the error has them."""
    if isinstance(error, KeyError):
        return f"the response lacks {_remove_secrets(str(error.args[0]))}"
    description = type(error).__name__
    if isinstance(error, BotoCoreError):
        url = urlsplit(error.kwargs.get("endpoint_url", ""))
        if url.hostname is not None:
            return f"{description}, {url.hostname}:{url.port or url.scheme}"
    return description


def _remove_secrets(text: str) -> str:
    """Shorten a text of the store, and replace what may be a key or a signature in it."""
    return _SECRET.sub("***", text)[:MAX_MESSAGE_LENGTH]
