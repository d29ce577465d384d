"""The settings of the object store, and the limits of uploads and documents."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field, ValidationInfo, field_validator

from app.settings._base import EnvironmentSettings, require_setting_in_production
from app.settings._store_types import (
    BucketName,
    KeyPrefix,
    Region,
    StoreUrl,
    require_virtual_addressing,
)

# A direct upload has up to 1,000 parts, and S3 allows 5 GiB for each of them.
MAX_FILE_SIZE = 5000 * 2**30  # bytes
# S3 accepts signed URLs that are valid for up to a week.
SecondsUpToOneWeek = Annotated[int, Field(ge=1, le=7 * 24 * 3600)]


class StoreSettings(EnvironmentSettings):
    """The settings of the object store, and the limits of uploads and documents."""

    s3_endpoint_url: StoreUrl | None = None
    s3_public_endpoint_url: StoreUrl | None = None
    # None: an embedded object store.
    s3_bucket: BucketName | None = Field(default=None, validate_default=True)
    s3_region: Region = "us-east-1"
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    s3_prefix: KeyPrefix = "documents/"
    # Send uploads with a checksum only if the bucket requires one, or always.
    s3_checksums: Literal["when_required", "always"] = "when_required"
    max_upload_size: ByteSize = Field(default=ByteSize(5 * 2**30), ge=1, le=MAX_FILE_SIZE)  # bytes
    # Per owner. 0: not limited.
    max_documents_per_user: int = Field(default=100_000, ge=0, le=10**12)
    max_pending_uploads_per_user: int = Field(default=100, ge=0, le=10**12)
    max_bytes_per_user: ByteSize = Field(default=ByteSize(2**40), ge=0, le=2**60)
    signed_url_ttl: SecondsUpToOneWeek = 15 * 60
    upload_grace_period: SecondsUpToOneWeek = 3600

    @field_validator("s3_bucket")
    @classmethod
    def _check_bucket(cls, bucket: str | None, info: ValidationInfo) -> str | None:
        """Require a bucket in production, and whenever S3_ENDPOINT_URL is set.

        Without a bucket, the service uses an embedded object store.
        """
        if bucket is None and info.data.get("s3_endpoint_url"):
            raise ValueError("Must be set if S3_ENDPOINT_URL is set")
        if bucket is None:
            require_setting_in_production(info)
        return bucket

    @field_validator("s3_addressing_style")
    @classmethod
    def _check_addressing_style(cls, addressing_style: str, info: ValidationInfo) -> str:
        """Refuse `virtual` if the bucket cannot be a part of the host name of the store."""
        bucket_is_invalid = "s3_bucket" not in info.data
        if addressing_style != "virtual" or bucket_is_invalid:
            return addressing_style
        bucket = info.data["s3_bucket"]
        if bucket is None:
            raise ValueError("Must be auto or path for the embedded object store")
        for setting_name in ("s3_endpoint_url", "s3_public_endpoint_url"):
            require_virtual_addressing(info.data.get(setting_name), bucket)
        return addressing_style
