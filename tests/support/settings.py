"""Settings of the service for tests."""

import os

import pytest
from pydantic import SecretStr, ValidationError

from app import embedded
from app.settings import Settings

# Port 1 refuses connections. Error messages must not contain the password.
UNREACHABLE_DATABASE_URL = "postgresql://somebody:hunter2@127.0.0.1:1/books"

# The hosts that requests of the tests name. By default, a service that everyone may use without a
# token accepts only loopback names.
TEST_HOSTS = "localhost,127.0.0.1,test,a,b"
# Environment variables with a short timeout of requests. The others must be shorter together.
SHORT_TIMEOUTS = {"REQUEST_TIMEOUT": "2", "DB_POOL_TIMEOUT": "0.5", "DB_STATEMENT_TIMEOUT": "1"}


def make_settings(url: str, **changes: object) -> Settings:
    """Return settings for a database and the object store of the tests.

    The `.env` file of the developer is not read. `changes` are other settings, for example
    `anonymous_access="none"`.
    """
    values = {
        "app_env": "test",
        "anonymous_access": "full",
        "allowed_hosts": TEST_HOSTS,
        "database_url": SecretStr(url),
        "s3_endpoint_url": os.environ["TEST_S3_ENDPOINT_URL"],
        "s3_bucket": embedded.BUCKET,
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def reject_settings(**values: object) -> ValidationError:
    """Return the error of settings with these values and those of environment variables."""
    with pytest.raises(ValidationError) as error_info:
        Settings(_env_file=None, **values)  # type: ignore[arg-type]
    return error_info.value
