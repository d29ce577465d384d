"""Programs that download lists by their URLs: curl, wget, DuckDB, and a client of HTTP/1.0."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.support import servers
from tests.support.factories import make_author, make_book
from tests.support.processes import running_server
from tests.support.programs import CURL, WGET, run_program
from tests.support.raw_requests import exchange_bytes, response_statuses

TITLES = ["Metamorphosis", 'The "Trial"', "=1+1", "two\nlines"]


@pytest.fixture(scope="module")
async def origin(template_url: str) -> AsyncIterator[str]:
    """The origin of a server with a few books of one author."""
    async with (
        servers.open_copy(template_url) as database_url,
        running_server(DATABASE_URL=database_url, LOG_LEVEL="WARNING") as (_, origin),
        AsyncClient(base_url=origin, trust_env=False) as client,
    ):
        author = await make_author(client, name="Kafka")
        for title in TITLES:
            await make_book(client, title, author["id"])
        yield origin


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
async def test_curl_saves_stream_under_its_file_name(origin: str, tmp_path: Path) -> None:
    assert CURL
    await run_program(
        CURL, "-sfOJ", f"{origin}/books.csv?bom=true&q=metamorphosis", directory=tmp_path
    )
    [file] = tmp_path.iterdir()
    assert file.name == "books.csv"
    assert file.read_text(encoding="utf-8-sig").splitlines()[1].count("Metamorphosis") == 1


@pytest.mark.skipif(WGET is None, reason="wget is not installed")
async def test_wget_saves_stream_under_its_file_name(origin: str, tmp_path: Path) -> None:
    assert WGET
    url = f"{origin}/books.ndjson?sort=title"
    await run_program(WGET, "-q", "--content-disposition", url, directory=tmp_path)
    [file] = tmp_path.iterdir()
    assert (file.name, len(file.read_text().splitlines())) == ("books.ndjson", len(TITLES))


async def test_duckdb_counts_rows_of_streams(origin: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        try:
            connection.load_extension("httpfs")
        except duckdb.Error:
            pytest.skip("the extension httpfs of DuckDB is not installed")
        for source, expected_count in {
            f"read_csv('{origin}/books.csv')": len(TITLES),
            f"read_csv('{origin}/books.csv?bom=true&q=metamorphosis')": 1,
            f"'{origin}/books.csv'": len(TITLES),
            f"read_json('{origin}/books.ndjson?sort=-title')": len(TITLES),
            f"'{origin}/authors.ndjson'": 1,
        }.items():
            query = f"SELECT count(*) FROM {source}"
            assert connection.execute(query).fetchone() == (expected_count,)


@pytest.mark.parametrize("path", ["/books.csv", "/books.ndjson"])
async def test_client_of_http_1_0_gets_stream_without_chunks(origin: str, path: str) -> None:
    response = await exchange_bytes(origin, f"GET {path} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
    head, _, body = response.partition(b"\r\n\r\n")
    assert response_statuses(head) == [200]
    assert b"transfer-encoding" not in head
    assert b"Metamorphosis" in body
