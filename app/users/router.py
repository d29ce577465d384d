"""HTTP endpoints of users."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from app.core.errors import Forbidden, NotFound
from app.core.http import (
    NO_STORE,
    CurrentCaller,
    CurrentPrincipal,
    RequestSession,
    Router,
    WritePrecondition,
    set_etag,
    set_location,
    set_page_links,
)
from app.core.paging import Page
from app.resources import AppResources
from app.users.errors import EmailTaken, LastAdmin, TooManyFailedLogins, TooManyRegistrations
from app.users.password_policy import PasswordPolicy
from app.users.registrations import RegistrationGuard
from app.users.schemas import UserCreate, UserDeletion, UserId, UserQuery, UserRead, UserUpdate
from app.users.service import UserService

router = Router(prefix="/users", tags=["users"], cache_control=NO_STORE)


async def _get_user_service(
    session: RequestSession,
    resources: AppResources,
    principal: CurrentPrincipal,
    caller: CurrentCaller,
) -> UserService:
    """Create the user service for one request, as a FastAPI dependency."""
    registration_guard = RegistrationGuard(
        # This session commits each statement by itself, even if the request has an Idempotency-Key.
        resources.database.writes,
        resources.settings.max_registrations_per_hour,
        caller.network,
        principal,
    )
    password_policy = PasswordPolicy(resources.settings.password_min_length)
    return UserService(
        session, resources.password_hasher, password_policy, principal, registration_guard
    )


UserServiceDependency = Annotated[UserService, Depends(_get_user_service)]


@router.get("/me", permission="own-account", errors=[NotFound])
async def read_current_user(users: UserServiceDependency, response: Response) -> UserRead:
    """Get your own user account.

    The current user is the owner of the access token in the request.
    """
    user = await users.get_current()
    set_etag(response, user)
    return user


@router.get("/{id}", permission="users")
async def read_user(id: UserId, users: UserServiceDependency, response: Response) -> UserRead:
    """Get a user."""
    user = await users.get(id)
    set_etag(response, user)
    return user


@router.get("", permission="users:list")
async def list_users(
    query: Annotated[UserQuery, Query()],
    users: UserServiceDependency,
    request: Request,
    response: Response,
) -> Page[UserRead]:
    """List users, page by page."""
    page = await users.page(query)
    set_page_links(request, response, page)
    return page


@router.post(
    "", permission="register", status_code=201, errors=[EmailTaken, Forbidden, TooManyRegistrations]
)
async def create_user(
    new_user: UserCreate, users: UserServiceDependency, request: Request, response: Response
) -> UserRead:
    """Register a user account.

    A new user has the role `member`. Only an admin may choose another role. If a network sends
    too many registrations, further ones are refused with 429, except for those by an admin.
    """
    user = await users.create(new_user)
    set_etag(response, user)
    set_location(request, response, f"/users/{user.id}")
    return user


@router.patch(
    "/{id}",
    permission="users",
    errors=[EmailTaken, LastAdmin, Forbidden, TooManyFailedLogins, TooManyRegistrations],
)
async def update_user(
    id: UserId,
    changes: UserUpdate,
    users: UserServiceDependency,
    precondition: WritePrecondition,
    response: Response,
) -> UserRead:
    """Change some fields of a user.

    The request is a JSON merge patch (RFC 7396). Fields that it does not contain keep their values.
    Only an admin may change a role. A new email or password of your own account requires
    `current_password`, also if you are an admin. A new password revokes all tokens of the user,
    except the token of this request. Changes of an email are limited like registrations.
    """
    user = await users.update(id, changes, precondition)
    set_etag(response, user)
    return user


@router.delete("/{id}", permission="users", errors=[LastAdmin, TooManyFailedLogins])
async def delete_user(
    id: UserId,
    users: UserServiceDependency,
    precondition: WritePrecondition,
    confirmation: UserDeletion | None = None,
) -> None:
    """Delete a user.

    The tokens and documents of the user are also deleted. The deletion of your own account requires
    a body with `current_password`, also if you are an admin.
    """
    current_password = None
    if confirmation is not None:
        current_password = confirmation.current_password
    await users.delete(id, current_password, precondition)
