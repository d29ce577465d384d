"""The rules for new passwords that depend on the settings, and on the user."""

from dataclasses import dataclass

from pydantic import SecretStr

from app import NAME
from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.users.password_fields import measure_password, normalize_password


@dataclass(frozen=True)
class PasswordPolicy:
    """Checks new passwords, in addition to the type `NewPassword`.

    Args:
        min_length: The setting PASSWORD_MIN_LENGTH, in characters of the normalized password.
    """

    min_length: int

    def check(self, password: SecretStr, *, email: str, name: str) -> None:
        """Raise `InvalidRequest` if a user with this email and name must not choose a password.

        These are the words that someone who knows the user tries first (NIST SP 800-63B, section
        3.1.1.2): the email, its part before the `@`, the name, and the name of the service. Case
        is ignored, and so are the spaces of the name.
        """
        if measure_password(password) < self.min_length:
            raise _create_password_error(
                "too_short", f"Must have at least {self.min_length} characters"
            )
        local_part = email.partition("@")[0]
        known_words = (email, local_part, name, "".join(name.split()), NAME)
        comparable_password = _make_comparable(password.get_secret_value())
        if comparable_password in {_make_comparable(word) for word in known_words}:
            raise _create_password_error(
                "known_password",
                "Must not be the email or name of the user, or the name of the service",
            )


def _make_comparable(text: str) -> str:
    """Return a text in the form in which passwords are hashed, without upper and lower case."""
    return normalize_password(text).casefold()


def _create_password_error(code: str, detail: str) -> InvalidRequest:
    """Create the error for a new password. `code` is for programs, and `detail` for people."""
    return InvalidRequest(FieldError(pointer="/password", code=code, detail=detail))
