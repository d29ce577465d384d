"""Log in, list and revoke over HTTP."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request, Response

from app.core.errors import NotFound, Unauthorized
from app.core.http import (
    IfMatch,
    ReadSession,
    Route,
    WriteSession,
    json_response,
    page_response,
    principal,
    requires,
    responses,
)
from app.core.paging import Page, PageQuery
from app.core.schemas import Id
from app.tokens.schemas import AccessToken, LogIn, TokenRead
from app.tokens.service import LoginService, TokenService
from app.users.credentials import CredentialVerifier
from app.users.errors import TooManyFailedLogins

CACHE: Final = "no-store"

router = APIRouter(prefix="/tokens", tags=["tokens"], route_class=Route)


async def _login(request: Request, session: WriteSession) -> LoginService:
    state = request.app.state
    verifier = CredentialVerifier(session, state.passwords)
    return LoginService(session, verifier, state.settings.token_ttl)


async def _reader(request: Request, session: ReadSession) -> TokenService:
    return TokenService(session, principal(request))


async def _writer(request: Request, session: WriteSession) -> TokenService:
    return TokenService(session, principal(request))


TokenList = Annotated[PageQuery, Depends(PageQuery.of)]
LogIns = Annotated[LoginService, Depends(_login)]
Reader = Annotated[TokenService, Depends(_reader)]
Writer = Annotated[TokenService, Depends(_writer)]


@router.post(
    "",
    status_code=201,
    response_model=AccessToken,
    responses=responses(Unauthorized, TooManyFailedLogins),
)
@requires(None)
async def create_token(
    data: Annotated[LogIn, Form()], request: Request, logins: LogIns
) -> Response:
    """Log in. The token works at once, until it expires or is revoked."""
    agent = request.headers.get("user-agent", "")[:100]
    named = data if data.name else data.model_copy(update={"name": agent or "unnamed"})
    key, token = await logins.create(named, request.client.host if request.client else None)
    return json_response(token, 201, {"Location": f"/tokens/{key}", "Cache-Control": CACHE})


@router.get("", response_model=Page[TokenRead])
@requires("oneself")
async def list_tokens(query: TokenList, request: Request, tokens: Reader) -> Response:
    """A page of one's own tokens, without their secrets."""
    return page_response(request, await tokens.page(query), cache=CACHE)


@router.delete("/current", status_code=204, responses=responses(NotFound))
@requires("oneself")
async def delete_current_token(versions: IfMatch, tokens: Writer) -> None:
    """Log out: revoke the token of this very request."""
    await tokens.delete_current(versions)


@router.delete("/{id}", status_code=204)
@requires("oneself")
async def delete_token(id: Id, versions: IfMatch, tokens: Writer) -> None:
    """Revoke one of one's own tokens."""
    await tokens.delete(id, versions)
