"""Tests of the daily user counts: counting and listing."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.core.db import Database
from app.reports.service import ReportService
from app.worker import JOBS
from tests.support import servers
from tests.support.commands import exit_code_and_output as command
from tests.support.factories import Json, make_user
from tests.support.resources import replace_resources
from tests.support.responses import (
    PAGE_FIELDS,
    check_parameter_error,
    empty_page,
    get_json,
    page_or_cursor,
    parse_link_header,
)
from tests.support.rows import execute, select_values
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings
from tests.support.statements import wait_for_statement_callbacks

PATH = "/reports/user-counts"
LAST_DAY = date(2026, 2, 14)  # the last day of the fixture `days`
DAYS = [(LAST_DAY - timedelta(days=n)).isoformat() for n in range(45)]
COUNT_USERS = ("jobs", "run", "count-users")
LOCK_JOB = "SELECT pg_advisory_lock(hashtextextended('bookshelf job count-users', 0))"
TODAY_IN_UTC = "SELECT timezone('UTC', now())::date"


@pytest.fixture
async def days(database: Database) -> None:
    """Store 45 user counts, of 2026-01-01 and later. The n-th day has n users."""
    await execute(
        database,
        "INSERT INTO user_counts SELECT day, n, day::timestamp AT TIME ZONE 'UTC' "
        "FROM (SELECT n, date '2025-12-31' + n AS day FROM generate_series(1, 45) n)",
    )


@pytest.fixture
async def reporting(template_url: str) -> AsyncIterator[str]:
    """The URL of a reporting database with the user count of one day."""
    insert_count = "INSERT INTO user_counts VALUES ('2020-02-29', 7, '2020-02-29Z')"
    async with servers.copy_with_rows(template_url, insert_count) as url:
        yield url


def days_of(page: Json) -> list[str]:
    """Return the days of a page of user counts."""
    return [item["day"] for item in page["items"]]


# Listing


async def test_user_count_has_day_count_and_time(client: AsyncClient, days: None) -> None:
    page = await get_json(client, f"{PATH}?size=1")
    assert page["items"] == [
        {"day": "2026-02-14", "count": 45, "counted_at": "2026-02-14T00:00:00Z"}
    ]


async def test_latest_day_comes_first(client: AsyncClient, days: None) -> None:
    page = await get_json(client, PATH)
    assert list(page) == PAGE_FIELDS
    assert (page["total"], page["page"], page["size"], page["pages"]) == (45, 1, 20, 3)
    assert days_of(page) == DAYS[:20]


async def test_last_page_has_the_remaining_days_and_no_next(
    client: AsyncClient, days: None
) -> None:
    page = await get_json(client, f"{PATH}?page=3&size=20")
    assert (days_of(page), page["next"]) == (DAYS[40:], None)


async def test_page_past_the_end_is_empty_and_has_the_total(
    client: AsyncClient, days: None
) -> None:
    page = await get_json(client, f"{PATH}?page=9&size=20")
    expected = empty_page(total=45, page=9, size=20, pages=3)
    assert page == expected


async def test_list_is_empty_before_the_first_count(client: AsyncClient) -> None:
    page = await get_json(client, PATH)
    assert page == empty_page(total=0, page=1, size=20, pages=0)


@pytest.mark.parametrize("size", [1, 7, 44, 45])
async def test_cursor_walk_returns_each_day_once_in_order(
    client: AsyncClient, days: None, size: int
) -> None:
    page = await get_json(client, f"{PATH}?size={size}")
    seen = days_of(page)
    while page["next"]:
        page = await get_json(client, f"{PATH}?size={size}&cursor={page['next']}")
        seen += days_of(page)
        assert len(seen) <= len(DAYS)
    assert seen == DAYS


async def test_cursor_walk_ignores_a_day_that_is_counted_meanwhile(
    client: AsyncClient, database: Database, days: None
) -> None:
    page = await get_json(client, f"{PATH}?size=30")
    await execute(database, "INSERT INTO user_counts (day, count) VALUES ('2026-02-15', 46)")
    following = await get_json(client, f"{PATH}?size=30&cursor={page['next']}")
    assert (days_of(page), days_of(following)) == (DAYS[:30], DAYS[30:])


@pytest.mark.parametrize(("count", "total", "pages"), [("exact", 45, 3), ("none", None, None)])
async def test_parameter_count_decides_whether_page_has_a_total(
    client: AsyncClient, days: None, count: str, total: int | None, pages: int | None
) -> None:
    page = await get_json(client, f"{PATH}?count={count}")
    assert (page["total"], page["pages"], days_of(page)) == (total, pages, DAYS[:20])


@pytest.mark.parametrize(("count", "total"), [("", None), ("&count=exact", 45)])
async def test_page_after_cursor_has_a_total_only_on_request(
    client: AsyncClient, days: None, count: str, total: int | None
) -> None:
    cursor = (await get_json(client, PATH))["next"]
    page = await get_json(client, f"{PATH}?cursor={cursor}{count}")
    assert (page["total"], page["page"], page["pages"]) == (total, None, None)


@pytest.mark.private_database  # a rollback does not undo ANALYZE
async def test_estimated_total_comes_from_the_planner(
    client: AsyncClient, database: Database, days: None
) -> None:
    await execute(database, "ANALYZE user_counts")
    page = await get_json(client, f"{PATH}?count=estimated")
    assert (page["total"], page["pages"]) == (45, 3)


async def test_link_header_has_first_previous_next_and_last_page(
    client: AsyncClient, days: None
) -> None:
    targets = parse_link_header(await client.get(f"{PATH}?page=2"))
    assert {name: page_or_cursor(target)["page"] for name, target in targets.items()} == {
        "first": "1", "prev": "1", "next": "3", "last": "3",
    }  # fmt: skip
    assert {urlsplit(target).path for target in targets.values()} == {PATH}


@pytest.mark.parametrize(
    ("name", "value"), [("sort", "day"), ("q", "5"), ("id", "1"), ("created_from", "2026-01-01")]
)
async def test_user_counts_reject_sort_and_filter_parameters(
    client: AsyncClient, name: str, value: str
) -> None:
    check_parameter_error(await client.get(PATH, params={name: value}), name)


@pytest.mark.parametrize(("name", "value"), [("page", "0"), ("size", "101"), ("cursor", "x")])
async def test_user_counts_reject_invalid_page_parameters(
    client: AsyncClient, name: str, value: str
) -> None:
    check_parameter_error(await client.get(PATH, params={name: value}), name)


async def test_user_counts_reject_cursor_of_another_list(client: AsyncClient) -> None:
    for email in ("ada@example.com", "alan@example.com"):
        await make_user(client, email)
    cursor = (await get_json(client, "/users?size=1"))["next"]
    check_parameter_error(await client.get(f"{PATH}?cursor={cursor}"), "cursor")


async def test_head_returns_the_headers_of_get(client: AsyncClient, days: None) -> None:
    head, response = await client.head(PATH), await client.get(PATH)
    assert (head.status_code, head.content) == (200, b"")
    assert parse_link_header(head) == parse_link_header(response)
    assert head.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_user_counts_allow_only_reading(client: AsyncClient, method: str) -> None:
    assert (await client.request(method, PATH, json={})).status_code == 405


@pytest.mark.private_database
async def test_user_counts_are_read_from_the_reporting_database(
    app: FastAPI, client: AsyncClient, database_url: str, days: None, reporting: str
) -> None:
    database_with_reporting = Database(
        make_settings(database_url, reporting_database_url=reporting)
    )
    replace_resources(app, database=database_with_reporting)
    response = await client.get(PATH)
    await database_with_reporting.close()
    assert response.json()["items"] == [
        {"day": "2020-02-29", "count": 7, "counted_at": "2020-02-29T00:00:00Z"}
    ]
    # This server is not a standby, so the database may be a copy of any age.
    assert "data-as-of" not in response.headers


@pytest.mark.parametrize("query", ["", "?page=9", "?count=none&page=9", "?count=estimated"])
async def test_data_of_reports_is_current_without_reporting_database(
    client: AsyncClient, days: None, query: str
) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    response = await client.get(f"{PATH}{query}")
    assert before < datetime.fromisoformat(response.headers["data-as-of"]) <= datetime.now(UTC)


@pytest.mark.private_database
async def test_data_of_reports_is_current_if_their_url_has_only_another_role(
    app: FastAPI, client: AsyncClient, database_url: str
) -> None:
    url = make_url(database_url).update_query_dict({"user": "postgres"})
    database_with_reporting = Database(
        make_settings(
            database_url, reporting_database_url=url.render_as_string(hide_password=False)
        )
    )
    replace_resources(app, database=database_with_reporting)
    response = await client.get(PATH)
    await database_with_reporting.close()
    assert "data-as-of" in response.headers


# Counting


async def test_count_users_counts_all_users_with_one_statement(
    client: AsyncClient, database: Database, statements: list[str]
) -> None:
    for number in range(3):
        await make_user(client, f"{number}@example.com")
    statements.clear()
    message = await ReportService(database.writes).store_todays_user_count()
    await wait_for_statement_callbacks()
    sent_statements = statements.copy()
    [today] = await select_values(database, TODAY_IN_UTC)
    assert (message, len(sent_statements)) == (f"counted 3 users on {today}", 1)


async def test_count_of_today_is_listed(client: AsyncClient, database: Database) -> None:
    await make_user(client)
    before = datetime.now(UTC) - timedelta(minutes=1)
    await ReportService(database.writes).store_todays_user_count()
    [counted] = (await get_json(client, PATH))["items"]
    [today] = await select_values(database, TODAY_IN_UTC)
    assert (counted["day"], counted["count"]) == (today.isoformat(), 1)
    assert before < datetime.fromisoformat(counted["counted_at"]) <= datetime.now(UTC)


async def test_users_are_counted_once_a_day(client: AsyncClient, database: Database) -> None:
    service = ReportService(database.writes)
    await service.store_todays_user_count()
    await make_user(client)
    first = await get_json(client, PATH)
    assert await service.store_todays_user_count() == "today's users have already been counted"
    assert await get_json(client, PATH) == first
    assert [item["count"] for item in first["items"]] == [0]


@pytest.mark.private_database
@pytest.mark.parametrize(
    "zone", ["Pacific/Kiritimati", "Etc/GMT+12"]
)  # where the date differs from UTC
async def test_day_of_count_is_in_utc_in_every_time_zone(database: Database, zone: str) -> None:
    # Behind a pooler, connections have the time zone of the server.
    async with database.transaction() as session:
        await session.execute(text(f"SET LOCAL timezone = '{zone}'"))
        await ReportService(session).store_todays_user_count()
        [row] = await session.execute(text("SELECT current_setting('timezone') AS zone"))
    assert row["zone"] == zone
    assert await select_values(database, "SELECT day FROM user_counts") == await select_values(
        database, TODAY_IN_UTC
    )


def test_users_are_counted_at_midnight_utc() -> None:
    [job] = [each for each in JOBS if each.name == "count-users"]
    assert timedelta(days=1) % job.interval == timedelta()


# The command `jobs run`


@pytest.mark.private_database
async def test_jobs_run_prints_the_outcome_of_each_run(
    client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await make_user(client)
    today = await outside_connection.fetchval(TODAY_IN_UTC)
    assert await command(*COUNT_USERS, DATABASE_URL=database_url) == (
        0,
        f"counted 1 users on {today}\n",
    )
    await make_user(client, "alan@example.com")
    counted = await outside_connection.fetch("SELECT * FROM user_counts")
    assert await command(*COUNT_USERS, DATABASE_URL=database_url) == (
        0,
        "today's users have already been counted\n",
    )
    assert await outside_connection.fetch("SELECT * FROM user_counts") == counted


@pytest.mark.private_database
async def test_jobs_run_fails_with_one_line_for_unknown_job(database_url: str) -> None:
    jobs = "sweep-storage, audit-storage, sweep-answers, sweep-changes, sweep-tokens, count-users"
    message = f"bookshelf: unknown job nope: the jobs are {jobs}\n"
    assert await command("jobs", "run", "nope", DATABASE_URL=database_url) == (1, message)


@pytest.mark.private_database
async def test_jobs_run_fails_with_one_line_while_job_is_running(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(LOCK_JOB)
    message = "bookshelf: another process is already running count-users; try again later\n"
    assert await command(*COUNT_USERS, DATABASE_URL=database_url) == (1, message)
    assert await outside_connection.fetchval("SELECT count(*) FROM user_counts") == 0


async def test_jobs_run_fails_with_one_line_without_database() -> None:
    code, output = await command(*COUNT_USERS, DATABASE_URL=UNREACHABLE_DATABASE_URL)
    message = "bookshelf: database: does not accept connections (postgresql+asyncpg://somebody:***@"
    assert code == 1
    assert output.splitlines()[-1].startswith(message)
    assert "Traceback" not in output
