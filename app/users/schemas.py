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

MAX_EMAIL: Final = 254  # characters, RFC 5321
MAX_PASSWORD: Final = 128  # characters
_EMAIL_SCHEMA: Final = {
    "type": "string",
    "format": "email",
    "maxLength": MAX_EMAIL,
    "examples": ["ada@example.com"],
}
PASSWORD_SCHEMA: Final = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "minLength": 8,
    "maxLength": MAX_PASSWORD,
    "pattern": NO_NUL_PATTERN,
    "examples": ["correct horse"],
}
_UPDATE_EXAMPLE: Final[dict[str, Any]] = {"examples": [{"name": "Ada King"}]}


def normalize_email(value: str) -> str | None:
    """Return the form in which an email is stored, or None if it is not an email address."""
    try:
        email = validate_email(value, check_deliverability=False).normalized
    except EmailNotValidError:
        return None
    return email if len(email) <= MAX_EMAIL else None


def _validate_email(value: str) -> str:
    email = normalize_email(value)
    if email is None:
        # Not the message of the library, which quotes what the client sent.
        raise PydanticCustomError("email", "Must be an email address")
    return email


def reject_nul(value: SecretStr) -> SecretStr:
    """Raise an error for a password that contains NUL, which forms and JSON allow."""
    if "\0" in value.get_secret_value():
        raise PydanticCustomError("password", "Must not contain NUL")
    return value


UserId = Annotated[int, integer_between(1, MAX_INT64), Field(description="Id of the user")]
Name = Annotated[str, string_of_length(1, 100), Field(examples=["Ada Lovelace"])]
Email = Annotated[
    str,
    string_of_length(3, MAX_EMAIL),
    AfterValidator(_validate_email),
    WithJsonSchema(_EMAIL_SCHEMA),
]
Password = Annotated[
    SecretStr,
    Field(min_length=8, max_length=MAX_PASSWORD),
    AfterValidator(reject_nul),
    WithJsonSchema(PASSWORD_SCHEMA),
]
Sort = Literal["name", "-name", "email", "-email", "created_at", "-created_at"]


class UserCreate(RequestModel):
    """A registration."""

    name: Name
    email: Email
    password: Password
    # The document has no default, because a client that fills in defaults would be refused.
    role: Role = Field(
        default=Role.MEMBER,
        description="For admins to set; member without",
        json_schema_extra=remove_default,
    )


class UserUpdate(UpdateModel, UserCreate):
    """Changes to a user. An absent field keeps its value."""

    model_config = ConfigDict(json_schema_extra=_UPDATE_EXAMPLE)

    current_password: Password = absent_by_default(
        description="With a new password, save for admins"
    )
    role: Role = absent_by_default(description="For admins to set")


class UserRead(ReadModel):
    """A user."""

    id: int = Field(ge=1, le=MAX_INT64, examples=[1])
    name: str = Field(max_length=100, examples=["Ada Lovelace"])
    email: str = Field(max_length=MAX_EMAIL, examples=["ada@example.com"])
    role: Role = Field(description="What the user may")
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class UserQuery(ListQuery):
    """A page of users."""

    sort: SortKeys[Sort] = ()
    email: Annotated[str, string_of_length(1, MAX_EMAIL)] | None = Field(
        default=None, description="This address, in any case"
    )
