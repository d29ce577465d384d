"""Messages for people whose settings are invalid."""

from pydantic import ValidationError

from app.settings._names import describe_unknown_setting
from app.settings._settings import Settings
from app.settings._sources import list_setting_names


class InvalidSettings(Exception):
    """Raised if a setting is invalid. The message has a line for each of them, without values."""


def read_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises `InvalidSettings` if a setting is invalid, or if `.env` cannot be read.
    """
    try:
        return Settings()
    except ValidationError as error:
        reasons = describe_validation_error(error)
    except UnicodeDecodeError:
        # For example UTF-16, in which the shell of Windows writes files.
        reasons = f"{Settings.model_config['env_file']}: Must be encoded in UTF-8"
    except OSError as error:
        reasons = f"{error.filename}: {error.strerror}"
    raise InvalidSettings(f"invalid settings\n{reasons}")


def describe_validation_error(error: ValidationError) -> str:
    """Return a line for each invalid setting, with its name and the reason.

    For example "DB_POOL_SIZE: Input should be greater than or equal to 1", or "CORS_ORIGINS, value
    2: Must be in lower case". The values of settings are left out, because they may be secret. The
    line of an unknown name in `.env` contains the setting that is probably meant.
    """
    setting_names = list_setting_names(Settings)
    lines = []
    for setting_error in error.errors():
        field_name, *value_indexes = setting_error["loc"]
        setting_name = str(field_name).upper()
        # A setting with comma-separated values has an error for each invalid value.
        for index in value_indexes:
            if isinstance(index, int):
                setting_name += f", value {index + 1}"
        # Pydantic adds this prefix to the message of a `ValueError` that a validator raises.
        reason: str | None = setting_error["msg"].removeprefix("Value error, ")
        if setting_error["type"] == "extra_forbidden":
            reason = describe_unknown_setting(setting_name, setting_names) or "Unknown setting"
        lines.append(f"{setting_name}: {reason}")
    return "\n".join(lines)
