"""Every environment variable of the service, typed, with its default; `.env` is read as well."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Origin = Annotated[str, Field(pattern=r"^https?://[^/\s]+$")]
# Allow only ASCII, because an automaton for all Unicode letters takes a MiB.
PREFIX = r"^([A-Za-z0-9_.-][A-Za-z0-9_./-]*)?$"
T = TypeVar("T")


def _split(text: Any) -> Any:
    """`a, b` as a list."""
    is_text = isinstance(text, str)
    return [word.strip() for word in text.split(",") if word.strip()] if is_text else text


Words = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
Host = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9._-]+$|^\[[0-9a-f:.]+\]$")]
# These are libpq's parameters that asyncpg takes. With any other, every connection would fail.
PARAMETERS = {"host", "passfile", "port", "ssl", "sslmode", "target_session_attrs", "user"}
Seconds = Annotated[int, Field(ge=1, le=7 * 24 * 3600)]  # S3 signs for a week at most


class Settings(BaseSettings):
    """What the service reads from its environment; `.env.example` says more of each variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    app_env: Literal["development", "test", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    data_dir: Path = Path(".data")
    database_url: SecretStr | None = Field(default=None, validate_default=True)
    reporting_database_url: SecretStr | None = None
    db_pool_size: int = Field(default=20, ge=1, le=1000)
    db_pool_timeout: float = Field(default=2.0, gt=0, le=60)  # seconds
    db_statement_timeout: float = Field(default=5.0, gt=0, le=3600)  # seconds
    db_pgbouncer: bool = False
    # Send statements that are built once to the driver, without SQLAlchemy's execution.
    db_fast_path: bool = True
    request_timeout: float = Field(default=30.0, gt=0, le=3600, validate_default=True)  # seconds
    web_concurrency: int = Field(default=1, ge=1, le=100)
    s3_endpoint_url: Origin | None = None
    s3_public_endpoint_url: Origin | None = None
    s3_bucket: str | None = Field(default=None, validate_default=True)
    s3_region: str = "us-east-1"
    s3_prefix: str = Field(default="documents/", pattern=PREFIX, max_length=200)
    max_upload_size: ByteSize = Field(default=ByteSize(5 * 2**30), ge=1)
    signed_url_ttl: Seconds = 15 * 60
    upload_grace_period: Seconds = 3600
    anonymous_access: Literal["none", "read", "full"] | None = Field(
        default=None, validate_default=True
    )
    token_ttl: int = Field(default=30 * 24 * 3600, ge=60, le=10 * 365 * 24 * 3600)  # seconds
    trusted_proxies: Words[IPvAnyNetwork] = ()
    allowed_hosts: Words[Host] = ()
    cors_origins: Words[Origin] = ()
    docs_enabled: bool = True
    # The compiled endpoint dispatch of core/http/_fast_dispatch.py; false uses FastAPI's own.
    http_fast_path: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] | None = Field(default=None, validate_default=True)

    @field_validator("database_url", "reporting_database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.field_name == "database_url":
            _needed_in_production(info)
        try:
            url = make_url(value.get_secret_value() if value else "postgresql://")
        except (ArgumentError, ValueError):  # it quotes a port that is none
            url = make_url("unknown://")
        if url.get_backend_name() not in {"postgres", "postgresql"}:
            raise ValueError("Must look like postgresql://user:password@host:5432/name")
        if not url.query.keys() <= PARAMETERS:
            raise ValueError(f"May have after its ? only {', '.join(sorted(PARAMETERS))}")
        return value

    @field_validator("request_timeout")
    @classmethod
    def _is_the_longest(cls, value: float, info: ValidationInfo) -> float:
        parts = [info.data.get(f"db_{name}_timeout", 0.0) for name in ("pool", "statement")]
        if value <= sum(parts):
            raise ValueError(
                "Must be more than DB_POOL_TIMEOUT and DB_STATEMENT_TIMEOUT together, "
                f"which are {sum(parts):g} seconds"
            )
        return value

    @field_validator("s3_bucket")
    @classmethod
    def _has_a_bucket(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("s3_endpoint_url"):
            raise ValueError("Must be set together with S3_ENDPOINT_URL")
        if value is None:
            _needed_in_production(info)
        return value

    @field_validator("anonymous_access")
    @classmethod
    def _is_closed_in_production(cls, value: str | None, info: ValidationInfo) -> str:
        environment = info.data.get("app_env")
        if value == "full" and environment == "production":
            raise ValueError("Must be read or none in production: with full anyone may do anything")
        return value or ("full" if environment == "development" else "read")

    @field_validator("log_format")
    @classmethod
    def _is_for_programs_in_production(cls, value: str | None, info: ValidationInfo) -> str:
        return value or ("json" if info.data.get("app_env") == "production" else "console")

    @property
    def sqlalchemy_url(self) -> URL:
        """`DATABASE_URL` for SQLAlchemy."""
        return self.url_of("database_url")

    def url_of(self, setting: str) -> URL:
        """A database's URL, or the default's, with `ssl`, asyncpg's word for libpq's `sslmode`."""
        secret: SecretStr | None = getattr(self, setting) or self.database_url
        # Without any, an application can be created, for example to print its OpenAPI document.
        url = make_url(secret.get_secret_value() if secret else "postgresql://")
        query = {"ssl" if key == "sslmode" else key: value for key, value in url.query.items()}
        return url.set(drivername="postgresql+asyncpg", query=query)


def _needed_in_production(info: ValidationInfo) -> None:
    if info.data.get("app_env") == "production":
        raise ValueError("Must be set in production: what is started here is for development")


def describe_validation_error(error: ValidationError) -> str:
    """One line for each wrong variable: its name and what is wrong, never its value."""
    return "\n".join(
        f"{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )
