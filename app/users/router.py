"""Users over HTTP. No cache may keep them."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from app.core.errors import Forbidden, NotFound
from app.core.http import (
    IfMatch,
    ReadSession,
    Route,
    WriteSession,
    page_response,
    principal,
    requires,
    resource_response,
    responses,
)
from app.core.paging import Page
from app.users.errors import EmailTaken, LastAdmin, TooManyFailedLogins
from app.users.schemas import UserCreate, UserId, UserQuery, UserRead, UserUpdate
from app.users.service import UserService

CACHE: Final = "no-store"

router = APIRouter(prefix="/users", tags=["users"], route_class=Route)


async def _reader(request: Request, session: ReadSession) -> UserService:
    return UserService(session, request.app.state.passwords, principal(request))


async def _writer(request: Request, session: WriteSession) -> UserService:
    return UserService(session, request.app.state.passwords, principal(request))


UserList = Annotated[UserQuery, Depends(UserQuery.of)]
Reader = Annotated[UserService, Depends(_reader)]
Writer = Annotated[UserService, Depends(_writer)]


@router.get("/me", response_model=UserRead, responses=responses(NotFound))
@requires("oneself")
async def read_current_user(request: Request, users: Reader) -> Response:
    """Who am I? The user of the request's token."""
    return resource_response(request, await users.get_current(), cache=CACHE)


@router.get("/{id}", response_model=UserRead)
@requires("users")
async def read_user(id: UserId, request: Request, users: Reader) -> Response:
    """One user."""
    return resource_response(request, await users.get(id), cache=CACHE)


@router.get("", response_model=Page[UserRead])
@requires("users:list")
async def list_users(query: UserList, request: Request, users: Reader) -> Response:
    """A page of users."""
    return page_response(request, await users.page(query), cache=CACHE)


@router.post(
    "", status_code=201, response_model=UserRead, responses=responses(EmailTaken, Forbidden)
)
@requires("register")
async def create_user(data: UserCreate, request: Request, users: Writer) -> Response:
    """Register, as a member unless an admin says otherwise."""
    user = await users.create(data)
    return resource_response(request, user, cache=CACHE, location=f"/users/{user.id}")


@router.patch(
    "/{id}",
    response_model=UserRead,
    responses=responses(EmailTaken, LastAdmin, Forbidden, TooManyFailedLogins),
)
@requires("users")
async def update_user(
    id: UserId, data: UserUpdate, versions: IfMatch, request: Request, users: Writer
) -> Response:
    """Change the fields that are sent (RFC 7396).

    Only an admin changes a role, or a password without the current one. A new password revokes
    the user's other tokens.
    """
    return resource_response(request, await users.update(id, data, versions), cache=CACHE)


@router.delete("/{id}", status_code=204, responses=responses(LastAdmin))
@requires("users")
async def delete_user(id: UserId, versions: IfMatch, users: Writer) -> None:
    """Remove a user, with all tokens and documents."""
    await users.delete(id, versions)
