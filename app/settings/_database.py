"""The settings of the database."""

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy.engine import URL, make_url

from app.database_url import DatabaseUrl, to_sqlalchemy_url
from app.settings._base import EnvironmentSettings, require_setting_in_production
from app.settings._types import Pooler


class DatabaseSettings(EnvironmentSettings):
    """The settings of the database: its URL, the connection pool, timeouts and the pooler."""

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

    @field_validator("database_url")
    @classmethod
    def _check_database_url(
        cls, database_url: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        """Require DATABASE_URL in production.

        Elsewhere, the service starts an embedded Postgres if DATABASE_URL is missing.
        """
        if database_url is None:
            require_setting_in_production(info)
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
