"""Request and response models of logins and tokens."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.core.schemas import (
    Id,
    ReadModel,
    RequestModel,
    UpdatedAt,
    Version,
    name_of_length,
    string_of_length,
)
from app.tokens.secret import TOKEN_PREFIX
from app.users.password_fields import SentPassword
from app.users.schemas import MAX_EMAIL_LENGTH

MAX_TOKEN_NAME_LENGTH: Final = 100  # characters
TokenId = Annotated[Id, Field(description="Id of the token")]
Name = Annotated[str, name_of_length(1, MAX_TOKEN_NAME_LENGTH)]
IgnoredOAuthField = Annotated[
    str | None,
    string_of_length(0, 1000),
    Field(description="Accepted for compatibility with OAuth 2, and ignored"),
]


class LoginForm(RequestModel):
    """The form of a login: the fields that OAuth 2 (RFC 6749) defines, and a name for the token."""

    username: Annotated[str, string_of_length(1, MAX_EMAIL_LENGTH)] = Field(
        description="Email of the user", examples=["ada@example.com"]
    )
    password: SentPassword
    name: Name | None = Field(
        default=None,
        description="Name of the token, such as the device. The default is the User-Agent header.",
    )
    grant_type: Literal["password"] | None = Field(
        default=None, description="Grant type of OAuth 2, which is always `password`"
    )
    scope: IgnoredOAuthField = None
    client_id: IgnoredOAuthField = None
    client_secret: IgnoredOAuthField = None


class AccessToken(BaseModel):
    """A new access token. Only this response contains the token itself."""

    access_token: str = Field(
        max_length=100,
        description="Token for the header `Authorization: Bearer <token>`",
        examples=[f"{TOKEN_PREFIX}<72 hexadecimal digits>"],
    )
    token_type: Literal["bearer"] = Field(description="Token type of OAuth 2")
    expires_in: int = Field(description="Lifetime of the token in seconds", examples=[2_592_000])


class TokenRead(ReadModel):
    """The description of an access token. It does not contain the token itself."""

    id: UUID
    name: str = Field(
        max_length=MAX_TOKEN_NAME_LENGTH, description="Name of the token", examples=["laptop"]
    )
    expires_at: datetime
    last_used_at: datetime | None = Field(
        description=(
            "Time of the last use, accurate to a few minutes. It is null if the token has not been"
            " used yet."
        ),
        examples=[None],
    )
    created_at: datetime
    updated_at: UpdatedAt
    version: Version
