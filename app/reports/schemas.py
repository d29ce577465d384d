"""Response models of reports."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from app.core.paging import PageQuery
from app.core.schemas import MAX_INT64


class UserCountRead(BaseModel):
    """How many users there were on a day."""

    day: date = Field(description="UTC", examples=["2026-11-21"])
    count: int = Field(ge=0, le=MAX_INT64, description="Users at that time", examples=[57])
    counted_at: datetime


class UserCountQuery(PageQuery):
    """A page of the nightly counts of users."""
