"""HTTP endpoints of reports. They read from the reporting database."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from app.core.http import (
    DATA_TIME_RESPONSES,
    ReportingSession,
    Router,
    set_data_time,
    set_page_links,
)
from app.core.paging import Page
from app.reports.schemas import UserCountQuery, UserCountRead
from app.reports.service import ReportService
from app.resources import AppResources

router = Router(prefix="/reports", tags=["reports"])


async def _create_service(session: ReportingSession, resources: AppResources) -> ReportService:
    reporting_database = resources.database.named_databases["reporting"]
    return ReportService(session, may_be_copy=reporting_database.may_be_copy)


ReportServiceDependency = Annotated[ReportService, Depends(_create_service)]


@router.get("/user-counts", permission="reports:read", responses=DATA_TIME_RESPONSES)
async def list_user_counts(
    query: Annotated[UserCountQuery, Query()],
    reports: ReportServiceDependency,
    request: Request,
    response: Response,
) -> Page[UserCountRead]:
    """List the daily user counts.

    The latest day comes first.
    """
    dated_page = await reports.page_user_counts(query)
    set_data_time(response, dated_page.data_as_of)
    set_page_links(request, response, dated_page.page)
    return dated_page.page
