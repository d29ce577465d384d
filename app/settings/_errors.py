"""Messages for people whose settings are invalid."""

from pydantic import ValidationError

from app.settings._names import describe_unknown_setting
from app.settings._settings import Settings
from app.settings._sources import list_setting_names


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
