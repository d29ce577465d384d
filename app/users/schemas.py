"""Request and response models of users. No response contains a password."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, ConfigDict, Field, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.access import Role
from app.core.paging import ListQuery, SortKeys
from app.core.schemas import (
    MAX_INT64,
    NO_NUL_PATTERN,
    ReadModel,
    RequestModel,
    UpdatedAt,
    UpdateModel,
    Version,
    absent_by_default,
    integer_between,
    remove_default,
    string_of_length,
)

MAX_EMAIL_LENGTH: Final = 254  # characters, RFC 5321
MAX_PASSWORD_LENGTH: Final = 128  # characters
_EMAIL_SCHEMA: Final = {
    "type": "string",
    "format": "email",
    "maxLength": MAX_EMAIL_LENGTH,
    "examples": ["ada@example.com"],
}
PASSWORD_SCHEMA: Final = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "minLength": 8,
    "maxLength": MAX_PASSWORD_LENGTH,
    "pattern": NO_NUL_PATTERN,
    "examples": ["correct horse"],
}
_UPDATE_EXAMPLE: Final[dict[str, Any]] = {"examples": [{"name": "Ada King"}]}


def normalize_email(value: str) -> str | None:
    """Return the form in which an email is stored, or None if it is not a valid email address.

    For example, `Ada@EXAMPLE.com` becomes `Ada@example.com`.
    """
    try:
        email = validate_email(value, check_deliverability=False).normalized
    except EmailNotValidError:
        return None
    if len(email) > MAX_EMAIL_LENGTH:
        return None
    return email


def _validate_email(value: str) -> str:
    email = normalize_email(value)
    if email is None:
        # The message of the library is not used, because it quotes what the client sent.
        raise PydanticCustomError("email", "Must be an email address such as ada@example.com")
    return email


def reject_nul(password: SecretStr) -> SecretStr:
    """Return the password. Raise a validation error if it contains the character NUL (U+0000)."""
    if "\0" in password.get_secret_value():
        raise PydanticCustomError("password", "Must not contain NUL characters")
    return password


UserId = Annotated[int, integer_between(1, MAX_INT64), Field(description="Id of the user")]
Name = Annotated[str, string_of_length(1, 100), Field(examples=["Ada Lovelace"])]
Email = Annotated[
    str,
    string_of_length(3, MAX_EMAIL_LENGTH),
    AfterValidator(_validate_email),
    WithJsonSchema(_EMAIL_SCHEMA),
]
Password = Annotated[
    SecretStr,
    Field(min_length=8, max_length=MAX_PASSWORD_LENGTH),
    AfterValidator(reject_nul),
    WithJsonSchema(PASSWORD_SCHEMA),
]
Sort = Literal["name", "-name", "email", "-email", "created_at", "-created_at"]


class UserCreate(RequestModel):
    """A user to register."""

    name: Name
    email: Email
    password: Password
    # The OpenAPI document has no default for the role. Generated clients would otherwise send the
    # default, and a client that sends a role without being an admin gets an error.
    role: Role = Field(
        default=Role.MEMBER,
        description="Role of the user, which only an admin may set; a member by default",
        json_schema_extra=remove_default,
    )


class UserUpdate(UpdateModel, UserCreate):
    """Changes to a user. A field that is absent keeps its value."""

    model_config = ConfigDict(json_schema_extra=_UPDATE_EXAMPLE)

    current_password: Password = absent_by_default(
        description="Current password, required with a new password unless an admin sets it"
    )
    role: Role = absent_by_default(description="Role of the user, which only an admin may change")


class UserRead(ReadModel):
    """A user, without their password."""

    id: int = Field(ge=1, le=MAX_INT64, examples=[1])
    name: str = Field(max_length=100, examples=["Ada Lovelace"])
    email: str = Field(max_length=MAX_EMAIL_LENGTH, examples=["ada@example.com"])
    role: Role = Field(description="Role of the user, which determines what they may do")
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class UserQuery(ListQuery):
    """The query parameters of a list of users."""

    sort: SortKeys[Sort] = ()
    email: Annotated[str, string_of_length(1, MAX_EMAIL_LENGTH)] | None = Field(
        default=None, description="Return only the user with this email, ignoring case"
    )
