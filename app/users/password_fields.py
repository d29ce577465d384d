"""The types of the fields that contain a password, and the normalization of passwords."""

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from app.core.schemas import NO_NUL_PATTERN, limit_from_setting
from app.users.common_passwords import is_common_password

# Characters (Unicode code points) of a normalized password. The setting PASSWORD_MIN_LENGTH raises
# the minimum (`PasswordPolicy`).
MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 128
# Normalization combines at most four code points into one, as in U+1F82. A longer password is too
# long in any case, and would take long to normalize.
_MAX_UNNORMALIZED_LENGTH: Final = 4 * MAX_PASSWORD_LENGTH
# A login accepts passwords that are too short to be right, and responds that they are wrong.
_SENT_PASSWORD_SCHEMA: Final = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "maxLength": MAX_PASSWORD_LENGTH,
    "pattern": NO_NUL_PATTERN,
    "description": (
        "Normalized before it is hashed, and before its characters (code points) are counted: every"
        " space becomes U+0020, and the text is converted to Unicode NFC."
    ),
    "examples": ["correct horse"],
}
_NEW_PASSWORD_SCHEMA: Final = {
    **_SENT_PASSWORD_SCHEMA,
    "minLength": MIN_PASSWORD_LENGTH,
    **limit_from_setting("minLength", "password_min_length"),
    "description": (
        "Must not be one of the most common passwords, nor the email (or the part of it before the"
        " `@`) or name of the user, nor the name of the service."
        f" {_SENT_PASSWORD_SCHEMA['description']}"
    ),
}


def normalize_password(password: str) -> str:
    """Convert a password to the form that is hashed, by the profile OpaqueString of RFC 8265.

    Keyboards send the same password in different forms. For example, `é` is one code point or two,
    and the space of a Japanese keyboard is U+3000. Unlike the profile, this function does not
    reject control characters and unassigned code points.
    """
    if password.isascii():
        return password
    with_ascii_spaces = "".join(
        " " if unicodedata.category(character) == "Zs" else character for character in password
    )
    return unicodedata.normalize("NFC", with_ascii_spaces)


def _reject_nul(password: SecretStr) -> SecretStr:
    """Return the password. Raise a validation error if it contains the character NUL (U+0000)."""
    if "\0" in password.get_secret_value():
        raise PydanticCustomError("password", "Must not contain NUL characters")
    return password


def _check_length_of_new_password(password: SecretStr) -> SecretStr:
    """Return the password. Raise a validation error if it is too short or too long."""
    length = measure_password(password)
    if length < MIN_PASSWORD_LENGTH:
        # Pydantic calls a `SecretStr` a "Value".
        limits = {"field_type": "Value", "min_length": MIN_PASSWORD_LENGTH, "actual_length": length}
        raise PydanticKnownError("too_short", limits)
    if length > MAX_PASSWORD_LENGTH:
        raise _create_too_long_error(length)
    return password


def _reject_common_password(password: SecretStr) -> SecretStr:
    """Return the password. Raise a validation error if many people use the same one."""
    if is_common_password(normalize_password(password.get_secret_value())):
        raise PydanticCustomError(
            "common_password",
            "Must not be one of the most common passwords, which attackers try first",
        )
    return password


def _check_length_of_sent_password(password: SecretStr) -> SecretStr:
    """Return the password. Raise a validation error if it is too long to be that of a user.

    Normalization makes a few passwords longer. Releases that did not normalize passwords accepted
    128 characters as they were sent, so these passwords are still accepted.
    """
    length = min(len(password), measure_password(password))
    if length > MAX_PASSWORD_LENGTH:
        raise _create_too_long_error(length)
    return password


def measure_password(password: SecretStr) -> int:
    """Return the number of code points of the normalized password.

    Returns the number before the normalization if it is so large that the normalized password is
    too long, too.
    """
    if len(password) > _MAX_UNNORMALIZED_LENGTH:
        return len(password)
    return len(normalize_password(password.get_secret_value()))


def _create_too_long_error(length: int) -> PydanticKnownError:
    """Create the validation error for a password with too many code points."""
    limits = {"field_type": "Value", "max_length": MAX_PASSWORD_LENGTH, "actual_length": length}
    return PydanticKnownError("too_long", limits)


# The values of both types are passwords as they were sent. `PasswordHasher` normalizes them.
NewPassword = Annotated[
    SecretStr,
    AfterValidator(_reject_nul),
    AfterValidator(_check_length_of_new_password),
    AfterValidator(_reject_common_password),
    WithJsonSchema(_NEW_PASSWORD_SCHEMA),
]
# The password of an existing user, which is compared with the stored hash.
SentPassword = Annotated[
    SecretStr,
    AfterValidator(_reject_nul),
    AfterValidator(_check_length_of_sent_password),
    WithJsonSchema(_SENT_PASSWORD_SCHEMA),
]
