"""The base class of all groups of settings: where they are read, and the environment (APP_ENV)."""

from typing import Literal

from pydantic import ValidationInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.settings._sources import EnvFileSource, EnvironmentSource


class EnvironmentSettings(BaseSettings):
    """The base class of each group of settings, such as those of the database.

    The values come from environment variables and the file `.env`. The fields of this class are
    validated first, so that the validators of the other fields can read them.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        # An unknown name in `.env` is an error (see `EnvFileSource`).
        extra="forbid",
        env_ignore_empty=True,
        # Error messages must not contain values, because they may be secret.
        hide_input_in_errors=True,
    )

    app_env: Literal["development", "test", "production"] = "development"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class passes it
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of the settings, in the order of their precedence."""
        # Tests pass another file, or None.
        assert isinstance(dotenv_settings, DotEnvSettingsSource)  # noqa: S101
        env_file = EnvFileSource(settings_cls, dotenv_settings.env_file)
        return init_settings, EnvironmentSource(settings_cls), env_file


def require_setting_in_production(info: ValidationInfo) -> None:
    """Raise `ValueError` in production, because the validated setting has no value."""
    if info.data.get("app_env") == "production":
        raise ValueError("Must be set in production: embedded servers are for development only")
