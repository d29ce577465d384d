"""Users over HTTP. No cache may keep them."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from app.core.conditional import IfMatch, many, one
from app.core.database import ReadSession, WriteSession
from app.core.errors import EmailTaken
from app.core.pagination import Page
from app.core.problems import responses
from app.core.routing import Route
from app.users.schemas import UserCreate, UserId, UserQuery, UserRead, UserUpdate
from app.users.service import UserService

CACHE: Final = "no-store"

router = APIRouter(prefix="/users", tags=["users"], route_class=Route)


async def _reader(request: Request, session: ReadSession) -> UserService:
    return UserService(session, request.app.state.passwords)


async def _writer(request: Request, session: WriteSession) -> UserService:
    return UserService(session, request.app.state.passwords)


UserList = Annotated[UserQuery, Depends(UserQuery.of)]
Reader = Annotated[UserService, Depends(_reader)]
Writer = Annotated[UserService, Depends(_writer)]


@router.get("/{id}", response_model=UserRead)
async def read_user(id: UserId, request: Request, users: Reader) -> Response:
    """One user."""
    return one(request, await users.get(id), cache=CACHE)


@router.get("", response_model=Page[UserRead])
async def list_users(query: UserList, request: Request, users: Reader) -> Response:
    """A page of users."""
    return many(request, await users.page(query), cache=CACHE)


@router.post("", status_code=201, response_model=UserRead, responses=responses(EmailTaken))
async def create_user(data: UserCreate, request: Request, users: Writer) -> Response:
    """Register."""
    user = await users.create(data)
    return one(request, user, cache=CACHE, created=f"/users/{user.id}")


@router.patch("/{id}", response_model=UserRead, responses=responses(EmailTaken))
async def update_user(
    id: UserId, data: UserUpdate, versions: IfMatch, request: Request, users: Writer
) -> Response:
    """Change the fields that are sent (RFC 7396)."""
    return one(request, await users.update(id, data, versions), cache=CACHE)


@router.delete("/{id}", status_code=204)
async def delete_user(id: UserId, versions: IfMatch, users: Writer) -> None:
    """Remove a user."""
    await users.delete(id, versions)
