"""The settings of the service: environment variables and the file `.env`, with types and defaults.

`.env.example` explains every setting.
"""

from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, IPvAnyNetwork, ValidationInfo, field_validator

from app.settings._database import DatabaseSettings
from app.settings._store import StoreSettings
from app.settings._types import (
    CommaSeparated,
    HostPattern,
    ListenAddress,
    Origin,
    PathPrefix,
    is_loopback_host,
)


class Settings(StoreSettings, DatabaseSettings):
    """The settings of the service, read from environment variables and the file `.env`.

    The field `db_pool_size` is the variable `DB_POOL_SIZE`. `.env.example` explains each setting.
    The base classes contain the settings of the object store and of the database.
    """

    host: ListenAddress = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    data_dir: Path = Path(".data")
    request_timeout: float = Field(default=30.0, gt=0, le=3600, validate_default=True)  # seconds
    # Limits for slow clients, in bytes per second and in seconds.
    min_body_rate: ByteSize = Field(default=ByteSize(8 * 1024), ge=1)
    min_stream_rate: ByteSize = Field(default=ByteSize(64 * 1024), ge=1)
    stream_timeout: float = Field(default=600.0, gt=0, le=7 * 24 * 3600)
    web_concurrency: int = Field(default=1, ge=1, le=100)  # processes
    # Never None after validation (see `anonymous_access_level`).
    anonymous_access: Literal["none", "read", "full"] | None = Field(
        default=None, validate_default=True
    )
    password_min_length: int = Field(default=8, ge=8, le=128)  # characters
    token_ttl: int = Field(default=30 * 24 * 3600, ge=60, le=10 * 365 * 24 * 3600)  # seconds
    max_tokens_per_user: int = Field(default=1000, ge=1, le=1_000_000)
    # Per hour and network. More than the upper bound makes no difference.
    max_registrations_per_hour: int = Field(default=100, ge=1, le=1_000_000)
    change_feed: bool = True
    change_retention: int = Field(default=7 * 24 * 3600, ge=60, le=366 * 24 * 3600)  # seconds
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
