"""The service gives the same results on databases with any locale."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support import servers
from tests.support.factories import make_user
from tests.support.responses import get_json
from tests.support.search_pairs import MATCHING_PAIRS, OTHER_PAIRS
from tests.support.searches import find_missed
from tests.support.sorted_names import ORDERED_NAMES, insert_authors, read_names
from tests.support.upgrades import upgrade_schema

# `locale_url` has to be named here, because pytest reads the parameters of fixtures before a test.
pytestmark = [pytest.mark.private_database, pytest.mark.usefixtures("locale_url")]

# The options of CREATE DATABASE. In Turkish, the lower case of I has no dot. In the locale C, only
# ASCII letters have a case and a class.
LOCALES = {
    "libc C": "LOCALE_PROVIDER libc LOCALE 'C'",
    "builtin C": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C' LOCALE 'C'",
    "builtin C.UTF-8": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
    "ICU und": "LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'",
    "ICU tr-TR": "LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C'",
}
ALL_MATCHING_PAIRS = [pair for pairs in MATCHING_PAIRS.values() for pair in pairs]
# Pairs of emails that differ only in the case of their letters.
SAME_EMAILS = [
    ("émile@example.com", "ÉMILE@example.com"),
    ("ёлка@example.com", "ЁЛКА@EXAMPLE.COM"),
    ("οδός@example.com", "ΟΔΌΣ@example.com"),
    ("ida@example.com", "IDA@example.com"),
]


@pytest.fixture(scope="module", params=LOCALES)
async def locale_url(request: pytest.FixtureRequest, template_url: str) -> AsyncIterator[str]:
    """The URL of a migrated, empty database with a locale."""
    name = f"bookshelf_test_locale_{uuid4().hex[:12]}"
    url = servers.with_database_name(template_url, name)
    template = f"template0 ENCODING 'UTF8' {LOCALES[request.param]}"
    try:
        await servers.recreate_database(url, template=template)
    except asyncpg.FeatureNotSupportedError as error:
        # The embedded Postgres is built without ICU. The image of the containers has it.
        pytest.skip(str(error))
    await upgrade_schema(url)
    yield url
    await servers.drop_database(url)


@pytest.fixture
async def private_database_url(locale_url: str) -> AsyncIterator[str]:
    """The URL of a copy of the database, which replaces that of the same fixture elsewhere."""
    async with servers.open_copy(locale_url) as url:
        yield url


async def test_searches_find_the_same_texts(outside_connection: asyncpg.Connection) -> None:
    assert await find_missed(outside_connection, ALL_MATCHING_PAIRS) == []
    assert await find_missed(outside_connection, OTHER_PAIRS) == OTHER_PAIRS


async def test_list_has_the_same_order(client: AsyncClient, database: Database) -> None:
    await insert_authors(database, sorted(ORDERED_NAMES))
    ascending = await read_names(client, "/authors?sort=name", 5)
    descending = await read_names(client, "/authors?sort=-name", 5)
    assert [name for _, name in ascending] == ORDERED_NAMES
    assert descending == ascending[::-1]


async def test_search_over_http_ignores_case(client: AsyncClient, database: Database) -> None:
    await insert_authors(database, ["Ёлка", "ISIK"])
    for q, name in (
        ("ёлка", "Ёлка"),
        ("ЕЛКА", "Ёлка"),
        ("\u0131s\u0327\u0131k", "ISIK"),
        ("isik", "ISIK"),
    ):
        page = await get_json(client, f"/authors?q={q}")
        assert [item["name"] for item in page["items"]] == [name], q


@pytest.mark.parametrize(("email", "same_email"), SAME_EMAILS)
async def test_email_that_differs_in_case_is_taken(
    client: AsyncClient, email: str, same_email: str
) -> None:
    await make_user(client, email=email)
    body = {"name": "x", "email": same_email, "password": "correct horse"}
    response = await client.post("/users", json=body)
    assert response.status_code == 409
    assert response.json()["detail"] == "Email already registered"
