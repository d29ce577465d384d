"""The settings of the service: environment variables and the file `.env`, with types and defaults.

`.env.example` explains every setting.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ByteSize, Field, IPvAnyNetwork, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url

from app.database_url import DatabaseUrl, to_sqlalchemy_url
from app.setting_types import (
    CommaSeparated,
    HostPattern,
    Origin,
    PathPrefix,
    Pooler,
    is_loopback_host,
)
from app.store_setting_types import (
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


class Settings(BaseSettings):
    """The settings of the service, read from environment variables and the file `.env`.

    The field `db_pool_size` is the variable `DB_POOL_SIZE`. `.env.example` explains each setting.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        # Error messages must not contain values, because they may be secret.
        hide_input_in_errors=True,
    )

    app_env: Literal["development", "test", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    data_dir: Path = Path(".data")
    # None: an embedded Postgres.
    database_url: DatabaseUrl | None = Field(default=None, validate_default=True)
    # None: the same as database_url.
    reporting_database_url: DatabaseUrl | None = None
    db_pool_size: int = Field(default=20, ge=1, le=1000)
    db_pool_timeout: float = Field(default=2.0, gt=0, le=60)  # seconds
    db_statement_timeout: float = Field(default=5.0, gt=0, le=3600)  # seconds
    migration_lock_timeout: float = Field(default=600.0, ge=0, le=7 * 24 * 3600)  # seconds
    # The former name of DB_POOLER=transaction.
    db_pgbouncer: bool = False
    # Never None after validation (see `pooler`).
    db_pooler: Pooler | None = Field(default=None, validate_default=True)
    # Execute frequent statements without SQLAlchemy (core/db/_fast_path.py).
    db_fast_path: bool = True
    request_timeout: float = Field(default=30.0, gt=0, le=3600, validate_default=True)  # seconds
    # Limits for slow clients, in bytes per second and in seconds.
    min_body_rate: ByteSize = Field(default=ByteSize(8 * 1024), ge=1)
    min_stream_rate: ByteSize = Field(default=ByteSize(64 * 1024), ge=1)
    stream_timeout: float = Field(default=600.0, gt=0, le=7 * 24 * 3600)
    web_concurrency: int = Field(default=1, ge=1, le=100)  # processes
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
    # Never None after validation (see `anonymous_access_level`).
    anonymous_access: Literal["none", "read", "full"] | None = Field(
        default=None, validate_default=True
    )
    password_min_length: int = Field(default=8, ge=8, le=128)  # characters
    token_ttl: int = Field(default=30 * 24 * 3600, ge=60, le=10 * 365 * 24 * 3600)  # seconds
    max_tokens_per_user: int = Field(default=1000, ge=1, le=1_000_000)
    # Per hour and network. More than the upper bound makes no difference.
    max_registrations_per_hour: int = Field(default=100, ge=1, le=1_000_000)
    # Without a prefix, it is "".
    root_path: PathPrefix = ""
    trusted_proxies: CommaSeparated[IPvAnyNetwork] = ()
    allowed_hosts: CommaSeparated[HostPattern] = ()
    cors_origins: CommaSeparated[Origin] = ()
    docs_enabled: bool = True
    # Call endpoints without FastAPI's own dispatch (core/http/_fast_dispatch.py).
    http_fast_path: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Never None after validation.
    log_format: Literal["console", "json"] | None = Field(default=None, validate_default=True)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(
        cls, database_url: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        """Require DATABASE_URL in production.

        Elsewhere, the service starts an embedded Postgres if DATABASE_URL is missing.
        """
        if database_url is None:
            _require_setting_in_production(info)
        return database_url

    @field_validator("db_pooler")
    @classmethod
    def _choose_pooler(cls, pooler: Pooler | None, info: ValidationInfo) -> Pooler:
        """Choose the default if the setting is not set: `none`, or what DB_PGBOUNCER means."""
        uses_former_setting = info.data.get("db_pgbouncer", False)
        if pooler is None:
            return "transaction" if uses_former_setting else "none"
        if uses_former_setting and pooler == "none":
            raise ValueError("Must not be none if DB_PGBOUNCER is true")
        return pooler

    @field_validator("request_timeout")
    @classmethod
    def _check_request_timeout(cls, request_timeout: float, info: ValidationInfo) -> float:
        """Require a timeout that is longer than the two timeouts of the database together.

        Otherwise, it could end a request that is still allowed to wait for a connection and then
        for a statement.
        """
        # `info.data` does not contain a timeout that is itself invalid.
        pool_timeout = info.data.get("db_pool_timeout", 0.0)
        statement_timeout = info.data.get("db_statement_timeout", 0.0)
        minimum = pool_timeout + statement_timeout
        if request_timeout <= minimum:
            raise ValueError(
                "Must be more than DB_POOL_TIMEOUT and DB_STATEMENT_TIMEOUT together, "
                f"which are {minimum:g} seconds"
            )
        return request_timeout

    @field_validator("s3_bucket")
    @classmethod
    def _check_bucket(cls, bucket: str | None, info: ValidationInfo) -> str | None:
        """Require a bucket in production, and whenever S3_ENDPOINT_URL is set.

        Without a bucket, the service uses an embedded object store.
        """
        if bucket is None and info.data.get("s3_endpoint_url"):
            raise ValueError("Must be set if S3_ENDPOINT_URL is set")
        if bucket is None:
            _require_setting_in_production(info)
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

    @field_validator("anonymous_access")
    @classmethod
    def _choose_anonymous_access(cls, access: str | None, info: ValidationInfo) -> str:
        """Refuse `full` in production, and choose the default if the setting is not set.

        The default is `full` only in development, if no other machine can connect (HOST) and the
        database is the embedded one, which is not shared. Otherwise, it is `read`.
        """
        app_env = info.data.get("app_env")
        if access == "full" and app_env == "production":
            raise ValueError(
                "Must be read or none in production, because full lets everyone change everything"
            )
        if access is not None:
            return access
        listens_on_loopback = is_loopback_host(info.data.get("host", ""))
        has_embedded_database = info.data.get("database_url") is None
        if app_env == "development" and listens_on_loopback and has_embedded_database:
            return "full"
        return "read"

    @field_validator("log_format")
    @classmethod
    def _choose_log_format(cls, log_format: str | None, info: ValidationInfo) -> str:
        """Choose the default if the setting is not set: `json` in production, else `console`."""
        if log_format is not None:
            return log_format
        if info.data.get("app_env") == "production":
            return "json"
        return "console"

    @property
    def anonymous_access_level(self) -> Literal["none", "read", "full"]:
        """The access of callers without a token: ANONYMOUS_ACCESS, without None in its type."""
        return self.anonymous_access or "none"

    @property
    def pooler(self) -> Pooler:
        """The pooler in front of Postgres: DB_POOLER, without None in its type."""
        return self.db_pooler or "none"

    @property
    def sqlalchemy_url(self) -> URL:
        """DATABASE_URL in the form that SQLAlchemy needs (see `sqlalchemy_url_of`)."""
        return self.sqlalchemy_url_of("database_url")

    def sqlalchemy_url_of(self, setting_name: str) -> URL:
        """Return the URL of a database in the form that SQLAlchemy needs to use asyncpg.

        `setting_name` is the setting with the URL, for example `reporting_database_url`. If this
        setting is None, the URL is the one in `database_url`.
        """
        database_url: SecretStr | None = getattr(self, setting_name) or self.database_url
        if database_url is None:
            # Without a database, the application can still print its OpenAPI document.
            return make_url("postgresql+asyncpg://")
        return to_sqlalchemy_url(database_url)


def _require_setting_in_production(info: ValidationInfo) -> None:
    """Raise `ValueError` in production, because the validated setting has no value."""
    if info.data.get("app_env") == "production":
        raise ValueError("Must be set in production: embedded servers are for development only")
