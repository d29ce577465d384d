"""The base class of all groups of settings: where they are read, and the environment (APP_ENV)."""

from typing import Literal

from pydantic import ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


class EnvironmentSettings(BaseSettings):
    """The base class of each group of settings, such as those of the database.

    The values come from environment variables and the file `.env`. The fields of this class are
    validated first, so that the validators of the other fields can read them.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        # Error messages must not contain values, because they may be secret.
        hide_input_in_errors=True,
    )

    app_env: Literal["development", "test", "production"] = "development"


def require_setting_in_production(info: ValidationInfo) -> None:
    """Raise `ValueError` in production, because the validated setting has no value."""
    if info.data.get("app_env") == "production":
        raise ValueError("Must be set in production: embedded servers are for development only")
