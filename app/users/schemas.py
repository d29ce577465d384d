"""What clients send and get of users. The password goes in and never comes out."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.pagination import ListQuery, Sorted
from app.core.schemas import MAX_INT64, ReadModel, RequestModel, absent, integer, text

MAX_EMAIL: Final = 254  # characters, RFC 5321
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 128


def _normalized(value: str) -> str:
    try:
        normalized = validate_email(value, check_deliverability=False).normalized
    except EmailNotValidError:  # its message quotes what the client sent
        normalized = ""
    if not 0 < len(normalized) <= MAX_EMAIL:
        raise PydanticCustomError("email", "Must be an email address")
    return normalized


def _password(value: SecretStr) -> SecretStr:
    if "\0" in value.get_secret_value():
        raise PydanticCustomError("password_nul", "May not contain NUL")
    return value


_PASSWORD_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "minLength": MIN_PASSWORD,
    "maxLength": MAX_PASSWORD,
}

UserId = Annotated[int, integer(1, MAX_INT64)]
Name = Annotated[str, text(1, 100)]
Email = Annotated[
    str,
    text(3, MAX_EMAIL),
    AfterValidator(_normalized),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": MAX_EMAIL}),
]
Password = Annotated[
    SecretStr,
    Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, strict=True),
    AfterValidator(_password),
    WithJsonSchema(_PASSWORD_SCHEMA),
]


class UserCreate(RequestModel):
    """A registration."""

    name: Name = Field(examples=["Ada Lovelace"])
    email: Email = Field(examples=["ada@example.com"])
    password: Password


class UserUpdate(RequestModel):
    """Changes to a user: an absent field stays."""

    name: Name = absent()
    email: Email = absent()
    password: Password = absent()


class UserRead(ReadModel):
    """A user."""

    id: int = Field(ge=1, le=MAX_INT64)
    name: str = Field(max_length=100)
    email: str = Field(max_length=MAX_EMAIL)
    created_at: datetime
    updated_at: datetime


class UserQuery(ListQuery):
    """A page of users."""

    sort: Annotated[
        tuple[Literal["name", "-name", "email", "-email", "created_at", "-created_at"], ...],
        Sorted,
    ] = Field(default=(), description="Keys in order, `-` for descending; oldest first without")
    email: Annotated[str, text(1, MAX_EMAIL)] | None = Field(
        default=None, description="This address, in any case"
    )
