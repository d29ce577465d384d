"""Explanations of errors of the object store, which tell an operator what to do.

The explanations contain no secrets, and no text of the store except for the name of a region.
"""

import re
from collections.abc import Mapping
from socket import gaierror
from typing import Any, Final, NamedTuple

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import NameResolutionError, NewConnectionError

from app.core.storage._s3_responses import (
    CLIENT_ERRORS,
    TEMPORARY_STATUSES,
    get_error_code,
    is_web_page,
)


class Failure(NamedTuple):
    """The reason for which a request to the store failed."""

    reason: str
    # One of `STORE_FAILURE_REASONS`.
    category: str
    # True if the store will refuse the request until an operator has changed something.
    is_permanent: bool = True


_NO_BUCKET: Final = Failure(
    "the bucket does not exist; check S3_BUCKET and S3_ENDPOINT_URL", "configuration"
)
_OTHER_REGION: Final = Failure("the bucket is in another region; check S3_REGION", "configuration")
# Reasons, and the error codes of S3 that they explain. Stores check these before anything else, so
# they affect every request. The response to HEAD has no body, so its code is the HTTP status.
_MISCONFIGURATIONS: Final = {
    _NO_BUCKET: "NoSuchBucket InvalidBucketName",
    Failure("the credentials do not have the permission {permission}", "credentials"): (
        "AccessDenied AllAccessDisabled UnauthorizedAccess"
    ),
    Failure(
        "the store refuses the credentials, or they do not have the permission {permission}",
        "credentials",
    ): ("401 403 Forbidden Unauthorized"),
    Failure("the store does not know the access key; check AWS_ACCESS_KEY_ID", "credentials"): (
        "InvalidAccessKeyId InvalidClientTokenId UnrecognizedClientException"
    ),
    Failure(
        "the secret does not belong to the access key; check AWS_SECRET_ACCESS_KEY", "credentials"
    ): ("SignatureDoesNotMatch AuthFailure"),
    Failure(
        "the temporary credentials have expired or are invalid; check AWS_SESSION_TOKEN",
        "credentials",
    ): ("ExpiredToken ExpiredTokenException InvalidToken TokenRefreshRequired"),
    Failure("the clock of this server is wrong; synchronize it", "credentials"): (
        "RequestTimeTooSkewed RequestExpired RequestInTheFuture"
    ),
    _OTHER_REGION: (
        "AuthorizationHeaderMalformed IllegalLocationConstraintException"
        " PermanentRedirect TemporaryRedirect Redirect 301 302 307"
    ),
    Failure("the account is not active; contact the provider of the store", "credentials"): (
        "AccountProblem NotSignedUp InvalidPayer"
    ),
}
# Further reasons for which the store refuses some requests. Some codes are those of MinIO.
_OTHER_REJECTIONS: Final = {
    _NO_BUCKET: "404 NotFound",
    Failure("the store is full, or a quota is reached", "capacity"): (
        "QuotaExceeded XMinioAdminBucketQuotaExceeded XMinioStorageFull StorageFull"
        " InsufficientStorage InsufficientCapacity 507"
    ),
    Failure(
        "the store limits objects or parts to fewer bytes; lower MAX_UPLOAD_SIZE", "capacity"
    ): ("EntityTooLarge MaxMessageLengthExceeded 413"),
    Failure("the store does not support this request", "refused"): (
        "NotImplemented MethodNotAllowed UnsupportedOperation 405 501"
    ),
    Failure(
        "the store cannot use its encryption key; check the key and the permissions for it",
        "configuration",
    ): ("KMSNotConfigured ServerSideEncryptionConfigurationNotFoundError"),
    Failure(
        "the file is archived; restore it to another storage class", "refused"
    ): "InvalidObjectState",
}
_WEB_PAGE: Final = Failure(
    "a web page responds instead of the store; check S3_ENDPOINT_URL", "configuration"
)
# boto3 has no credentials, or cannot use its configuration.
_LOCAL_ERRORS: Final = {
    Failure(
        "there are no usable credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "credentials",
    ): (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.ProfileNotFound,
        boto.SSOError,
        boto.TokenRetrievalError,
        boto.NoAuthTokenError,
        # boto3 raises it for credentials that have expired.
        RuntimeError,
    ),
    Failure("the configuration is invalid; check the variables AWS_* and S3_*", "configuration"): (
        boto.ConfigParseError,
        boto.ConfigNotFound,
        boto.InvalidConfigError,
        boto.ValidationError,
        boto.ParamValidationError,
        boto.BaseEndpointResolverError,
        # boto3 raises these for malformed settings.
        ValueError,
        TypeError,
    ),
}
# Reasons for which OpenSSL could not establish a connection.
_TLS_ERRORS: Final = {
    "CERTIFICATE_VERIFY_FAILED": Failure(
        "the TLS certificate is not valid; check S3_ENDPOINT_URL and AWS_CA_BUNDLE", "configuration"
    ),
    "WRONG_VERSION_NUMBER": Failure(
        "the store does not use TLS; check whether S3_ENDPOINT_URL has to begin with http:",
        "configuration",
    ),
}
# The store may work again later. In messages, the name of the store precedes these reasons. An
# error may be an instance of several classes, so the order matters.
_CONNECTION_ERRORS: Final = {
    "the host of S3_ENDPOINT_URL cannot be resolved": (NameResolutionError, gaierror),
    "does not accept connections": (NewConnectionError,),
    "the proxy of HTTPS_PROXY or HTTP_PROXY fails": (boto.ProxyConnectionError,),
    "the TLS connection fails": (boto.SSLError,),
    "closes connections": (boto.ConnectionClosedError,),
    "does not respond": (BotoCoreError, OSError),
}
# The server has responded, but not as an S3 store does.
NOT_A_STORE: Final = Failure("S3_ENDPOINT_URL is not the URL of an S3 store", "configuration")
# The permission that each operation needs. Others need "s3:" followed by their name.
_PERMISSIONS: Final = {
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "HeadObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
    "AssumeRole": "sts:AssumeRole",
    "AssumeRoleWithWebIdentity": "sts:AssumeRoleWithWebIdentity",
}
# The store has not received the bytes that were sent, or not in time. They can be sent again.
RESENDABLE_BODY_CODES: Final = {
    "408",
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_REGION: Final = re.compile("[a-z0-9-]{1,40}")


def _index_by_code(codes_by_failure: dict[Failure, str]) -> dict[str, Failure]:
    """Return the failure for each error code."""
    return {code: failure for failure, codes in codes_by_failure.items() for code in codes.split()}


_MISCONFIGURED_CODES: Final = _index_by_code(_MISCONFIGURATIONS)
_REJECTED_CODES: Final = _MISCONFIGURED_CODES | _index_by_code(_OTHER_REJECTIONS)


def is_misconfigured(error: ClientError) -> bool:
    """Return whether the store refuses every request, for example because the secret is wrong."""
    code = get_error_code(error.response)
    return code in _MISCONFIGURED_CODES or is_web_page(error.response)


def explain_response(error: ClientError) -> Failure:
    """Explain an error response of the store."""
    if is_web_page(error.response):
        return _WEB_PAGE
    return _explain_code(error)


def _explain_code(error: ClientError) -> Failure:
    """Explain the code of an error response, or its status if the code is unknown."""
    code = get_error_code(error.response)
    if code.startswith(("KMS.", "XMinioKMS")):
        code = "KMSNotConfigured"
    failure = _REJECTED_CODES.get(code)
    if failure == _OTHER_REGION:
        return explain_region(find_region(error.response))
    if failure is not None:
        permission = _PERMISSIONS.get(error.operation_name, f"s3:{error.operation_name}")
        return failure._replace(reason=failure.reason.format(permission=permission))

    if code in RESENDABLE_BODY_CODES:
        reason = "the store has not received all bytes as they were sent"
        return Failure(reason, "busy", is_permanent=False)
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status in TEMPORARY_STATUSES:
        return Failure("the store is busy", "busy", is_permanent=False)
    if status in CLIENT_ERRORS:
        return Failure("the store refuses the request", "refused")
    # The completion of a multipart upload may also fail with the status 200.
    return Failure("the store has an internal error", "busy", is_permanent=False)


def find_region(response: Mapping[str, Any]) -> str | None:
    """Return the region of the bucket, if a response of the store names it."""
    headers = response["ResponseMetadata"].get("HTTPHeaders", {})
    region = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region", "")
    if _REGION.fullmatch(region):
        return str(region)
    return None


def explain_region(region: str | None) -> Failure:
    """Explain that S3_REGION is not the region of the bucket. `region` is None if unknown."""
    if region is None:
        return _OTHER_REGION
    return Failure(f"the bucket is in the region {region}; check S3_REGION", "configuration")


def explain_exception(error: Exception) -> Failure:
    """Explain an error other than an error response of the store."""
    for failure, error_classes in _LOCAL_ERRORS.items():
        if isinstance(error, error_classes):
            return failure
    if isinstance(error, boto.SSLError):
        for openssl_reason, failure in _TLS_ERRORS.items():
            if openssl_reason in str(error):
                return failure
    if isinstance(error, boto.EndpointConnectionError):
        # The error of urllib3 is more specific.
        error = error.kwargs["error"]
    for reason, error_classes in _CONNECTION_ERRORS.items():
        if isinstance(error, error_classes):
            return Failure(reason, "unreachable", is_permanent=False)
    return NOT_A_STORE
