"""Reports over HTTP, from the reporting database."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.core.http import ReportingSession, Route, page_response, requires
from app.core.paging import Page
from app.reports.schemas import UserCountQuery, UserCountRead
from app.reports.service import ReportService

router = APIRouter(prefix="/reports", tags=["reports"], route_class=Route)
UserCountList = Annotated[UserCountQuery, Depends(UserCountQuery.of)]


@router.get("/user-counts", response_model=Page[UserCountRead])
@requires("reports:read")
async def list_user_counts(
    query: UserCountList, request: Request, session: ReportingSession
) -> Response:
    """A page of the nightly counts of users, the newest first."""
    return page_response(request, await ReportService(session).user_counts(query))
