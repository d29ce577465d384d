"""Prepares the application for another ASGI server, for example `uvicorn app.main:app`.

`python -m app serve` does this work before it creates the application. docs/operations/servers.md
lists what only that command does.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from app.backends import provide_database, provide_object_store
from app.core.db import Database, find_database_problem
from app.core.observability import configure_application_logging
from app.embedded import RELOAD_LINGER_SECONDS
from app.settings import Settings, log_setting_warnings, read_settings
from app.tables import REQUIRED_REVISIONS

_MISSING_PROTECTION: Final = (
    "this is not the server of `python -m app serve`, which limits slow and malformed requests"
    " itself: clients must reach it only through a proxy that does (docs/operations/servers.md)"
)
log = logging.getLogger(__name__)


def load_settings() -> Settings:
    """Read the settings of one of the processes that another server may have (WEB_CONCURRENCY).

    Raises `InvalidSettings` if a setting is invalid.
    """
    settings = read_settings()
    pool_size_per_process = max(1, settings.db_pool_size // settings.web_concurrency)
    return settings.model_copy(update={"db_pool_size": pool_size_per_process})


def serves_only_this_machine(settings: Settings) -> bool:
    """Return whether everyone may change everything, without anybody having decided that."""
    is_default = "anonymous_access" not in settings.model_fields_set
    return is_default and settings.anonymous_access_level == "full"


@asynccontextmanager
async def prepare(settings: Settings) -> AsyncIterator[Settings]:
    """Prepare this process to serve requests until the block ends.

    Yields settings with the addresses of the database and of the object store. In development,
    these are embedded servers if the settings name none. Several processes share them, and they
    continue to run for some seconds, so that the next process of a reload finds them running.
    """
    # The type of `log_format` includes None, but a validator always chooses a format.
    configure_application_logging(settings.log_level, settings.log_format or "console")
    log_setting_warnings(Settings)
    _warn_about_missing_parts(settings)
    backends = ExitStack()
    try:
        # These functions wait for processes, and would block the event loop.
        complete_settings = await asyncio.to_thread(_start_backends, settings, backends)
        if settings.database_url is not None:
            await _warn_about_outdated_schema(settings)
        yield complete_settings
    finally:
        await asyncio.to_thread(backends.close)


def _warn_about_missing_parts(settings: Settings) -> None:
    """Log what the server of `python -m app serve` would do, if the settings need it."""
    if settings.app_env == "production":
        log.warning(_MISSING_PROTECTION)
    if settings.metrics_port > 0:
        log.warning("METRICS_PORT is ignored, because only `python -m app serve` serves metrics")


def _start_backends(settings: Settings, stack: ExitStack) -> Settings:
    """Start the embedded servers that the settings need, and upgrade the embedded database.

    `stack` stops them. Returns settings with their addresses.
    """
    linger_seconds = RELOAD_LINGER_SECONDS
    complete_settings = stack.enter_context(
        provide_database(settings, linger_seconds=linger_seconds)
    )
    if settings.database_url is None:
        log.info("using an embedded Postgres with its data in %s", settings.data_dir.resolve())
        # Imported lazily because Alembic is not needed with a database of the settings.
        from app import schema  # noqa: PLC0415

        schema.upgrade(
            complete_settings.sqlalchemy_url,
            "head",
            settings.migration_lock_timeout,
            change_feed=settings.change_feed,
        )
    if settings.s3_bucket is None:
        log.info("using an embedded S3 server with its data in %s", settings.data_dir.resolve())
    return stack.enter_context(
        provide_object_store(complete_settings, linger_seconds=linger_seconds)
    )


async def _warn_about_outdated_schema(settings: Settings) -> None:
    """Log why the database is not usable. Operators of production ask `/readyz` instead."""
    if settings.app_env == "production":
        return
    database = Database(settings)
    try:
        problem = await find_database_problem(database.reads, REQUIRED_REVISIONS)
    finally:
        await database.close()
    if problem is not None:
        log.warning("%s (`python -m app migrate` upgrades the schema)", problem)
