"""HTTP endpoints of reports. They read from the reporting database."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from app.core.http import ReportingSession, Router, set_page_links
from app.core.paging import Page
from app.reports.schemas import UserCountQuery, UserCountRead
from app.reports.service import ReportService

router = Router(prefix="/reports", tags=["reports"])


async def _create_service(session: ReportingSession) -> ReportService:
    return ReportService(session)


ReportServiceDependency = Annotated[ReportService, Depends(_create_service)]


@router.get("/user-counts", permission="reports:read")
async def list_user_counts(
    query: Annotated[UserCountQuery, Query()],
    reports: ReportServiceDependency,
    request: Request,
    response: Response,
) -> Page[UserCountRead]:
    """List the daily user counts.

    The latest day comes first.
    """
    page = await reports.page_user_counts(query)
    set_page_links(request, response, page)
    return page
