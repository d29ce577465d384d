"""Response models of reports."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from app.core.paging import PageQuery
from app.core.schemas import MAX_INT64


class UserCountRead(BaseModel):
    """The number of users on one day."""

    day: date = Field(description="Date in UTC", examples=["2026-11-21"])
    count: int = Field(
        ge=0, le=MAX_INT64, description="Number of users at the time `counted_at`", examples=[57]
    )
    counted_at: datetime = Field(description="Time of the count")


class UserCountQuery(PageQuery):
    """Query parameters of the list of daily user counts."""
