"""Reads settings from environment variables and `.env`, without what belongs to other programs.

Some programs set variables that have the name of a setting by accident:

    HOST=x86_64-conda-linux-gnu           conda, for its compilers
    HOST=laptop.local                     tcsh, the name of the machine
    METRICS_PORT=tcp://10.0.0.1:9090      Kubernetes, for a Service with the name "metrics"

Such a value is ignored with a warning. `.env` or the default then applies, so that the server never
listens on an address that nobody has chosen.
"""

import logging
import os
import re
import socket
from typing import Any, Final

from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from app.settings._names import (
    describe_unknown_setting,
    find_misspelled_setting,
    is_compose_variable,
)
from app.settings._types import is_loopback_host

log = logging.getLogger(__name__)
# For example x86_64-conda-linux-gnu, x86_64-conda_cos6-linux-gnu or arm64-apple-darwin20.0.0.
_PLATFORM: Final = re.compile(
    r"[a-z0-9_]+-(conda|conda_\w+|apple|w64|pc|unknown)-(linux|darwin|mingw|windows)[\w.-]*"
)
# Kubernetes sets the address of a Service in this form (`enableServiceLinks`).
_SERVICE_LINK: Final = re.compile(r"(tcp|udp|sctp)://\S+")


class EnvironmentSource(EnvSettingsSource):
    """Reads settings from environment variables, except values of other programs."""

    def __call__(self) -> dict[str, Any]:
        """Return the values by the names of their fields."""
        values = super().__call__()
        return {
            name: value
            for name, value in values.items()
            if find_foreign_origin(name, value) is None
        }


class EnvFileSource(DotEnvSettingsSource):
    """Reads settings from `.env`, and names that are not settings only if they are mistakes."""

    def __call__(self) -> dict[str, Any]:
        """Return the values by the names of their fields, and those of unknown names."""
        values = super().__call__()
        setting_names = list_setting_names(self.settings_cls)
        return {
            name: value
            for name, value in values.items()
            if name.upper() in setting_names
            or describe_unknown_setting(name.upper(), setting_names) is not None
        }


def list_setting_names(settings_class: type[BaseSettings]) -> set[str]:
    """Return the names of all settings in upper case, for example `{"HOST", "PORT", ...}`."""
    return {name.upper() for name in settings_class.model_fields}


def find_foreign_origin(name: str, value: object) -> str | None:
    """Return which program has set a variable for another purpose, or None if it is a setting.

    Args:
        name: The field of the setting, for example "host".
        value: The value of the variable.
    """
    if not isinstance(value, str):
        return None
    if name == "host" and _PLATFORM.fullmatch(value):
        return "conda sets it to the platform of its compilers"
    is_own_name = name == "host" and value.lower() == socket.gethostname().lower()
    if is_own_name and not is_loopback_host(value):
        return "shells such as tcsh set it to the name of the machine; write an IP address instead"
    if name.endswith("_port") and _SERVICE_LINK.fullmatch(value):
        service_name = name.removesuffix("_port").replace("_", "-")
        return f'Kubernetes sets it for the Service "{service_name}" (enableServiceLinks)'
    return None


def log_setting_warnings(settings_class: type[BaseSettings]) -> None:
    """Log a warning for each variable that is probably not what somebody meant it to be."""
    for warning in list_setting_warnings(settings_class):
        log.warning(warning)


def list_setting_warnings(settings_class: type[BaseSettings]) -> list[str]:
    """Return a sentence for each variable that is probably not what somebody meant it to be.

    These are values of other programs, misspelled names in the environment, and names in `.env`
    that are not settings. The sentences do not contain values, which may be secret.
    """
    setting_names = list_setting_names(settings_class)
    warnings = []
    for name, value in sorted(os.environ.items()):
        if name.upper() in setting_names:
            foreign_origin = find_foreign_origin(name.lower(), value)
            if foreign_origin is not None:
                warnings.append(f"the variable {name} is ignored: {foreign_origin}")
            continue
        misspelled_setting = find_misspelled_setting(name.upper(), setting_names)
        if misspelled_setting is not None:
            warnings.append(
                f"the variable {name} is not a setting: did you mean {misspelled_setting}?"
            )
    env_file = settings_class.model_config.get("env_file")
    # The source has the names in lower case.
    names_in_file = [name.upper() for name in EnvFileSource(settings_class, env_file).env_vars]
    other_names = [
        name
        for name in names_in_file
        if name not in setting_names and not is_compose_variable(name)
    ]
    if other_names:
        warnings.append(
            f"these names in {env_file} are not settings, and are ignored: {', '.join(other_names)}"
        )
    return warnings
