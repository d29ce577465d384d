"""Request and response models of logins and tokens."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, SecretStr, WithJsonSchema

from app.core.schemas import Id, ReadModel, RequestModel, UpdatedAt, Version, string_of_length
from app.tokens.secret import TOKEN_PREFIX
from app.users.schemas import MAX_EMAIL, MAX_PASSWORD, PASSWORD_SCHEMA, reject_nul

_SECRET = {key: value for key, value in PASSWORD_SCHEMA.items() if key != "minLength"}
TokenId = Annotated[Id, Field(description="Id of the token")]
Name = Annotated[str, string_of_length(1, 100)]
Ignored = Annotated[
    str | None, string_of_length(0, 1000), Field(description="Of OAuth 2; has no effect")
]


class LogIn(RequestModel):
    """The form of OAuth 2's password grant, and a name for the token."""

    username: Annotated[str, string_of_length(1, MAX_EMAIL)] = Field(
        description="The email", examples=["ada@example.com"]
    )
    password: Annotated[
        SecretStr,
        Field(max_length=MAX_PASSWORD),
        AfterValidator(reject_nul),
        WithJsonSchema(_SECRET),
    ]
    name: Name | None = Field(default=None, description="What the token is for; else the client's")
    grant_type: Literal["password"] | None = Field(default=None, description="Of OAuth 2")
    scope: Ignored = None
    client_id: Ignored = None
    client_secret: Ignored = None


class AccessToken(BaseModel):
    """A new token. Nobody ever sees it again."""

    access_token: str = Field(
        max_length=100,
        description="For `Authorization: Bearer`",
        examples=[f"{TOKEN_PREFIX}<72 hexadecimal digits>"],
    )
    token_type: Literal["bearer"] = Field(description="Of OAuth 2")
    expires_in: int = Field(description="Seconds", examples=[2_592_000])


class TokenRead(ReadModel):
    """A token without its secret."""

    id: UUID
    name: str = Field(max_length=100, description="What it is for", examples=["laptop"])
    expires_at: datetime
    last_used_at: datetime | None = Field(
        description="Some minutes late at most; null when unused", examples=[None]
    )
    created_at: datetime
    updated_at: UpdatedAt
    version: Version
