"""HTTP endpoints of reports, which read from the reporting database."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from app.core.http import ReportingSession, Router, set_page_links
from app.core.paging import Page
from app.reports.schemas import UserCountQuery, UserCountRead
from app.reports.service import ReportService

router = Router(prefix="/reports", tags=["reports"])


async def _report_service(session: ReportingSession) -> ReportService:
    return ReportService(session)


Reports = Annotated[ReportService, Depends(_report_service)]


@router.get("/user-counts", permission="reports:read")
async def list_user_counts(
    query: Annotated[UserCountQuery, Query()],
    reports: Reports,
    request: Request,
    response: Response,
) -> Page[UserCountRead]:
    """List the daily counts of users.

    The newest count comes first.
    """
    page = await reports.user_counts(query)
    set_page_links(request, response, page)
    return page
