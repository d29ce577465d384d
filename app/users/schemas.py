"""Request and response models of users. No response contains a password."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.access import Role
from app.core.paging import ListQuery, SortKeys
from app.core.schemas import (
    MAX_INT64,
    ReadModel,
    RequestModel,
    UpdatedAt,
    UpdateModel,
    Version,
    absent_by_default,
    integer_between,
    name_of_length,
    remove_default,
    string_of_length,
)
from app.users.password_fields import NewPassword, SentPassword

MAX_EMAIL_LENGTH: Final = 254  # characters, RFC 5321
_EMAIL_SCHEMA: Final = {
    "type": "string",
    "format": "email",
    "maxLength": MAX_EMAIL_LENGTH,
    "examples": ["ada@example.com"],
}
_UPDATE_EXAMPLE: Final[dict[str, Any]] = {"examples": [{"name": "Ada King"}]}


def normalize_email(email: str) -> str | None:
    """Convert an email address to the form in which it is stored. Return None if it is invalid.

    For example, `Ada@EXAMPLE.com` becomes `Ada@example.com`.
    """
    try:
        # Do not look up the domain, because registration must not depend on a DNS server.
        normalized_email = validate_email(email, check_deliverability=False).normalized
    except EmailNotValidError:
        return None
    if len(normalized_email) > MAX_EMAIL_LENGTH:
        return None
    return normalized_email


def normalize_email_if_valid(email: str) -> str:
    """Convert an email address to the form in which it is stored, to find the user who has it.

    A text that is not a valid address is returned unchanged. It finds a user only if an older
    version has stored this text as an address.
    """
    return normalize_email(email) or email


def _validate_email(value: str) -> str:
    """Normalize an email address. Raise a validation error if it is invalid."""
    email = normalize_email(value)
    if email is None:
        # Do not use the message of `email_validator`, because it quotes the value of the client.
        raise PydanticCustomError("email", "Must be an email address such as ada@example.com")
    return email


UserId = Annotated[int, integer_between(1, MAX_INT64), Field(description="Id of the user")]
Name = Annotated[str, name_of_length(1, 100), Field(examples=["Ada Lovelace"])]
Email = Annotated[
    str,
    string_of_length(3, MAX_EMAIL_LENGTH),
    AfterValidator(_validate_email),
    WithJsonSchema(_EMAIL_SCHEMA),
]
EmailFilter = Annotated[
    str, string_of_length(1, MAX_EMAIL_LENGTH), AfterValidator(normalize_email_if_valid)
]
Sort = Literal["name", "-name", "email", "-email", "created_at", "-created_at"]


class UserCreate(RequestModel):
    """The request body that registers a user."""

    name: Name
    email: Email
    password: NewPassword
    # The OpenAPI document does not mention the default. Otherwise, generated clients would send it,
    # and the service would refuse the request, because only an admin may send a role.
    role: Role = Field(
        default=Role.MEMBER,
        description="Role of the user. Only an admin may set it; the default is `member`.",
        json_schema_extra=remove_default,
    )


class UserUpdate(UpdateModel, UserCreate):
    """The request body that changes a user. A field that is absent keeps its value."""

    model_config = ConfigDict(json_schema_extra=_UPDATE_EXAMPLE)

    current_password: SentPassword = absent_by_default(
        description=(
            "Current password. It is required to change the email or password of your own account."
        )
    )
    role: Role = absent_by_default(description="Role of the user. Only an admin may change it.")


class UserDeletion(RequestModel):
    """The request body that confirms the deletion of your own account."""

    current_password: SentPassword = Field(description="Current password")


class UserRead(ReadModel):
    """A user as the API returns it. The password is not included."""

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
    email: EmailFilter | None = Field(
        default=None,
        description=(
            "Return only the user with this email. It is compared as in a registration or login:"
            " ignoring case, and with a domain in Unicode or in Punycode. The list is empty if the"
            " value is not a valid address."
        ),
    )
