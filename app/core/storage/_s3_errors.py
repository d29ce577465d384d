"""Errors of boto3, translated to those that every `ObjectStore` raises."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from app.core.errors import Unavailable
from app.core.storage._object_store import ObjectNotFound

_NOT_FOUND_CODES: Final = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
log = logging.getLogger(__name__)


@contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Replace each error that boto3 raises in the block by `ObjectNotFound` or `Unavailable`.

    Logs why the store failed, unless the only reason is that an object does not exist. The function
    can also be used as a decorator.
    """
    try:
        yield
    except ClientError as error:
        # The store has responded, but with an error.
        if error.response["Error"]["Code"] in _NOT_FOUND_CODES:
            raise ObjectNotFound from error
        log.warning("the object store returned an error: %s", error)
        raise Unavailable("The object store returned an error") from error
    except (BotoCoreError, OSError) as error:
        log.warning(
            "a request to the object store failed; check S3_ENDPOINT_URL and the credentials: %s",
            error,
        )
        raise Unavailable("The object store is not available") from error
