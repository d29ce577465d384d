"""The settings of the service: where they are read, which are valid, and messages about others."""

from app.settings._errors import InvalidSettings, describe_validation_error, read_settings
from app.settings._settings import Settings
from app.settings._sources import log_setting_warnings
from app.settings._types import Pooler, is_loopback_host

__all__ = [
    "InvalidSettings",
    "Pooler",
    "Settings",
    "describe_validation_error",
    "is_loopback_host",
    "log_setting_warnings",
    "read_settings",
]
