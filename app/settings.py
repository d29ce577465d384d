"""Every environment variable of the service, typed, with its default; `.env` is read as well."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError


class Settings(BaseSettings):
    """What the service reads from its environment; `.env.example` says more of each variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    app_env: Literal["development", "test", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    data_dir: Path = Path(".data")
    database_url: SecretStr | None = None
    db_pool_size: int = Field(default=20, ge=1, le=1000)
    db_pool_timeout: float = Field(default=2.0, gt=0, le=60)  # seconds
    db_statement_timeout: float = Field(default=5.0, gt=0, le=3600)  # seconds
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            url = make_url(value.get_secret_value() if value else "postgresql://")
            if url.get_backend_name() in {"postgres", "postgresql"}:
                return value
        except ArgumentError:
            pass
        raise ValueError("Must look like postgresql://user:password@host:5432/name")

    @property
    def sqlalchemy_url(self) -> URL:
        """`DATABASE_URL` for SQLAlchemy and asyncpg, whose word for libpq's `sslmode` is `ssl`."""
        url = make_url(self.database_url.get_secret_value() if self.database_url else "")
        query = {"ssl" if key == "sslmode" else key: value for key, value in url.query.items()}
        return url.set(drivername="postgresql+asyncpg", query=query)


def describe(error: ValidationError) -> str:
    """One line for each wrong variable: its name and what is wrong, never its value."""
    return "\n".join(
        f"{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )
