"""Finds misspelled names of settings, and the setting that each probably means."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

# The similarity of two names, between 0 and 1, from which one may be a misspelling of the other.
_MIN_SIMILARITY_IN_FILE: Final = 0.84
# The environment contains the variables of all other programs, so only longer names with a single
# mistake count.
_MIN_SIMILARITY_IN_ENVIRONMENT: Final = 0.92
# Longer names are not compared.
_MAX_COMPARED_LENGTH: Final = 60  # characters
# The variables of `docker-compose.yml`, which docker compose reads from the same file. Those of
# COMPOSE_PREFIX belong to docker compose itself.
COMPOSE_VARIABLES: Final = {
    *("IMAGE", "PYTHON_IMAGE", "POSTGRES_IMAGE", "RCLONE_IMAGE", "S3_PORT"),
    *("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"),
}
COMPOSE_PREFIX: Final = "COMPOSE_"


def find_misspelled_setting(name: str, setting_names: Collection[str]) -> str | None:
    """Return the setting whose name a variable of the environment probably misspells, or None.

    For example "DB_POOL_SIZE" for "DB_POOL_SIZES". Names are in upper case.
    """
    return _find_similar_name(name, setting_names, _MIN_SIMILARITY_IN_ENVIRONMENT)


def describe_unknown_setting(name: str, setting_names: Collection[str]) -> str | None:
    """Return what is wrong with an unknown name in `.env`, or None if it may be for others.

    A name is an error if it is similar to that of a setting, or if several settings begin with the
    same word. A file that several programs share may also contain names such as VITE_API_URL, which
    do not look like a setting of this service.

    Args:
        name: The name in upper case, for example "DB_POOL_SIZES" or "DB_HOST".
        setting_names: The names of all settings, in upper case.
    """
    if is_compose_variable(name):
        return None
    similar_name = _find_similar_name(name, setting_names, _MIN_SIMILARITY_IN_FILE)
    if similar_name is not None:
        return f"Unknown setting. Did you mean {similar_name}?"
    first_word, separator, _ = name.partition("_")
    prefix = first_word + separator
    related_names = sorted(known for known in setting_names if known.startswith(prefix))
    if separator and len(related_names) > 1:
        return f"Unknown setting. Those that begin with {prefix} are {', '.join(related_names)}"
    return None


def is_compose_variable(name: str) -> bool:
    """Return whether docker compose reads this name from `.env`."""
    return name in COMPOSE_VARIABLES or name.startswith(COMPOSE_PREFIX)


def _find_similar_name(
    name: str, setting_names: Collection[str], min_similarity: float
) -> str | None:
    """Return the most similar name of a setting, or None. Underscores do not count."""
    if len(name) > _MAX_COMPARED_LENGTH:
        return None
    names_without_underscores = {known.replace("_", ""): known for known in setting_names}
    similar_names = get_close_matches(
        name.replace("_", ""), names_without_underscores, 1, min_similarity
    )
    return names_without_underscores[similar_names[0]] if similar_names else None
