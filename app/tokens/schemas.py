"""Request and response models of logins and tokens."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field, WithJsonSchema

from app.core.schemas import (
    Id,
    ReadModel,
    RequestModel,
    UpdatedAt,
    Version,
    integer_between,
    limit_from_setting,
    name_of_length,
    remove_default,
    string_of_length,
)
from app.tokens.scopes import FULL_SCOPE, MAX_SCOPE_LENGTH, RequestedScope
from app.tokens.secret import TOKEN_PREFIX
from app.users.password_fields import SentPassword
from app.users.schemas import MAX_EMAIL_LENGTH

MAX_TOKEN_NAME_LENGTH: Final = 100  # characters
MAX_TOKEN_LIFETIME: Final = 10 * 365 * 24 * 3600  # seconds; the setting TOKEN_TTL lowers it
TokenId = Annotated[Id, Field(description="Id of the token")]
Name = Annotated[str, name_of_length(1, MAX_TOKEN_NAME_LENGTH)]
RequestedLifetime = Annotated[
    int,
    integer_between(1, MAX_TOKEN_LIFETIME),
    WithJsonSchema({"type": "integer", "minimum": 1, **limit_from_setting("maximum", "token_ttl")}),
]
IgnoredOAuthField = Annotated[
    str | None,
    string_of_length(0, 1000),
    Field(description="Accepted for compatibility with OAuth 2, and ignored"),
]


class LoginForm(RequestModel):
    """The form of a login: the fields of OAuth 2 (RFC 6749), and the token's name and lifetime."""

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
    scope: RequestedScope = Field(
        default=FULL_SCOPE,
        description=(
            "Scopes of the token, separated by a space: `read` for requests with GET and HEAD,"
            " `write` for all others. Without a scope, the token has both."
        ),
        examples=[FULL_SCOPE],
        json_schema_extra=remove_default,
    )
    expires_in: RequestedLifetime | None = Field(
        default=None,
        description="Lifetime of the token in seconds. The default is the maximum.",
        examples=[3600],
    )
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
    expires_in: int = Field(
        ge=1,
        le=MAX_TOKEN_LIFETIME,
        description="Lifetime of the token in seconds",
        examples=[2_592_000],
    )
    scope: str = Field(
        max_length=MAX_SCOPE_LENGTH,
        description="Scopes of the token, separated by a space",
        examples=[FULL_SCOPE],
    )


class TokenRead(ReadModel):
    """The description of an access token. It does not contain the token itself."""

    id: UUID
    name: str = Field(
        max_length=MAX_TOKEN_NAME_LENGTH, description="Name of the token", examples=["laptop"]
    )
    scope: str = Field(
        max_length=MAX_SCOPE_LENGTH,
        description="Scopes of the token, separated by a space: `read`, `write`",
        examples=[FULL_SCOPE],
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
