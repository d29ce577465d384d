"""HTTP endpoints of tokens: log in, list and revoke."""

from typing import Annotated

from fastapi import Depends, Form, Query, Request, Response

from app.core.errors import NotFound, Unauthorized
from app.core.http import (
    NO_STORE,
    CurrentCaller,
    CurrentPrincipal,
    RequestSession,
    Router,
    WritePrecondition,
    set_location,
    set_page_links,
)
from app.core.paging import Page, PageQuery
from app.core.visible_text import has_visible_character
from app.resources import AppResources
from app.tokens.schemas import MAX_TOKEN_NAME_LENGTH, AccessToken, LoginForm, TokenId, TokenRead
from app.tokens.service import LoginService, TokenService
from app.users.credentials import CredentialVerifier
from app.users.errors import TooManyFailedLogins

router = Router(prefix="/tokens", tags=["tokens"], cache_control=NO_STORE)


async def _get_login_service(session: RequestSession, resources: AppResources) -> LoginService:
    """Create the login service for one request, as a FastAPI dependency."""
    verifier = CredentialVerifier(session, resources.password_hasher)
    return LoginService(
        session,
        verifier,
        token_ttl_seconds=resources.settings.token_ttl,
        max_tokens_per_user=resources.settings.max_tokens_per_user,
    )


async def _get_token_service(session: RequestSession, principal: CurrentPrincipal) -> TokenService:
    """Create the token service for one request, as a FastAPI dependency."""
    return TokenService(session, principal)


LoginServiceDependency = Annotated[LoginService, Depends(_get_login_service)]
TokenServiceDependency = Annotated[TokenService, Depends(_get_token_service)]


@router.post("", permission="public", status_code=201, errors=[Unauthorized, TooManyFailedLogins])
async def create_token(
    login: Annotated[LoginForm, Form()],
    login_service: LoginServiceDependency,
    caller: CurrentCaller,
    request: Request,
    response: Response,
) -> AccessToken:
    """Log in and get a token.

    The response contains an access token, which is valid until it expires or is revoked, and states
    its lifetime and its scope. If you have too many tokens, the one that has not been used for the
    longest time is revoked.
    """
    # If the client does not name the token, the name of its browser or HTTP library is used.
    user_agent = request.headers.get("user-agent", "")[:MAX_TOKEN_NAME_LENGTH]
    default_name = user_agent if has_visible_character(user_agent) else "unnamed"
    token_name = login.name or default_name
    token_id, token = await login_service.log_in(login, token_name, caller.network)
    set_location(request, response, f"/tokens/{token_id}")
    return token


@router.get("", permission="own-account")
async def list_tokens(
    query: Annotated[PageQuery, Query()],
    tokens: TokenServiceDependency,
    request: Request,
    response: Response,
) -> Page[TokenRead]:
    """List your tokens.

    The list contains the name, the scope and the times of each token, but not the token itself.
    """
    page = await tokens.page(query)
    set_page_links(request, response, page)
    return page


# A token of any scope may log itself out, because that takes no rights from anyone else.
@router.delete("/current", permission="own-account", token_scope=None, errors=[NotFound])
async def delete_current_token(
    tokens: TokenServiceDependency, precondition: WritePrecondition
) -> None:
    """Log out by revoking your token.

    This revokes the token with which the request is sent.
    """
    await tokens.delete_current(precondition)


@router.delete("/{id}", permission="own-account")
async def delete_token(
    id: TokenId, tokens: TokenServiceDependency, precondition: WritePrecondition
) -> None:
    """Revoke one of your tokens."""
    await tokens.delete(id, precondition)
