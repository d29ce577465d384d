"""Attacks of web pages in a real browser on the service of a developer, who visits the pages.

The service gives everyone without a token all permissions (`ANONYMOUS_ACCESS=full`).
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support import servers
from tests.support.access_log import read_logged_status
from tests.support.chromium import CHROMIUM, EMPTY_PAGE, Page, open_page
from tests.support.connections import tcp_connection, tcp_server
from tests.support.processes import running_server

# Each script makes the page send a multipart form to `/documents`, which browsers do without asking
# the service for permission. The placeholder is the origin of the service.
ATTACKS = {
    "form": """
const frame = document.createElement('iframe')
const form = document.createElement('form')
frame.name = form.target = 'frame'
form.action = '%s/documents'
form.method = 'POST'
form.enctype = 'multipart/form-data'
form.innerHTML = '<input name="name" value="forged">'
document.body.append(frame, form)
form.submit()
""",
    "form in a sandbox": """
const frame = document.createElement('iframe')
frame.sandbox = 'allow-scripts allow-forms'
frame.srcdoc = `<form action="%s/documents" method="POST" enctype="multipart/form-data">
  <input name="name" value="forged"></form><script>document.forms[0].submit()</script>`
document.body.append(frame)
""",
    "fetch": """
const body = new FormData()
body.append('name', 'forged')
body.append('file', new File(['text'], 'a.txt'))
fetch('%s/documents', {method: 'POST', mode: 'no-cors', body})
""",
    "beacon": """
const body = new FormData()
body.append('name', 'forged')
navigator.sendBeacon('%s/documents', body)
""",
    "redirect": """
const body = new FormData()
body.append('name', 'forged')
fetch('/redirect?%s/documents', {method: 'POST', mode: 'no-cors', body})
""",
}
# A script that lists the users of the service and creates an admin, and returns both statuses.
TAKE_OVER = """
(async () => {
  const user = {name: 'Eve', email: 'eve@example.com', password: 'correct horse', role: 'admin'}
  const created = await fetch('/users', {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(user)
  })
  const listed = await fetch('/users')
  return [created.status, listed.status]
})()
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
async def database_url(template_url: str) -> AsyncIterator[str]:
    async with servers.open_copy(template_url) as url:
        yield url


@pytest.fixture(scope="module")
async def server(database_url: str) -> AsyncIterator[tuple[Process, str]]:
    """The process and the origin of a server with the default of `ALLOWED_HOSTS`."""
    environment = {"DATABASE_URL": database_url, "ALLOWED_HOSTS": ""}
    async with running_server(**environment) as process_and_origin:
        yield process_and_origin


async def serve_page(reader: StreamReader, writer: StreamWriter) -> None:
    """Respond with an empty page, or with a redirect to the URL in the query."""
    head = await reader.readuntil(b"\r\n\r\n")
    target = head.split()[1]
    if target.startswith(b"/redirect?"):
        location = target.partition(b"?")[2]
        writer.write(
            b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n"
            b"Connection: close\r\nLocation: %b\r\n\r\n" % location
        )
    else:
        writer.write(EMPTY_PAGE)
    await writer.drain()


async def copy(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@pytest.fixture(scope="module")
async def page_address() -> AsyncIterator[str]:
    """The address of a server with a foreign page: `127.0.0.1:54321`."""
    async with tcp_server(serve_page) as address:
        yield address


@pytest.fixture(scope="module")
async def cross_site_page(
    page_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Page]:
    """A page whose host is not that of the service."""
    url = f"http://{page_address}".replace("127.0.0.1", "localhost")
    async with open_page(url, tmp_path_factory.mktemp("browser")) as page:
        yield page


async def count_documents(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    count: int = await connection.fetchval("SELECT count(*) FROM documents")
    await connection.close()
    return count


@pytest.mark.parametrize("attack", ATTACKS)
async def test_document_that_a_page_of_another_site_sends_is_refused(
    cross_site_page: Page, server: tuple[Process, str], database_url: str, attack: str
) -> None:
    process, origin = server
    await cross_site_page.evaluate("{%s}; null" % (ATTACKS[attack] % origin))
    assert await read_logged_status(process, "POST", "/documents") == 403
    assert await count_documents(database_url) == 0


async def test_document_that_a_page_of_another_port_sends_is_refused(
    page_address: str, server: tuple[Process, str], database_url: str, tmp_path: Path
) -> None:
    process, origin = server
    async with open_page(f"http://{page_address}", tmp_path) as same_site_page:
        await same_site_page.evaluate("{%s}; null" % (ATTACKS["fetch"] % origin))
        assert await read_logged_status(process, "POST", "/documents") == 403
    assert await count_documents(database_url) == 0


async def test_page_whose_name_was_rebound_to_loopback_neither_reads_nor_creates_users(
    server: tuple[Process, str], tmp_path: Path
) -> None:
    _, origin = server

    async def serve_page_then_service(reader: StreamReader, writer: StreamWriter) -> None:
        """Serve the page, and every other path from the service, as if the name had changed."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET / "):
            writer.write(EMPTY_PAGE)
            return
        async with tcp_connection(origin) as (service_reader, service_writer):
            service_writer.write(head)
            await asyncio.gather(copy(reader, service_writer), copy(service_reader, writer))

    rule = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    async with (
        tcp_server(serve_page_then_service) as address,
        open_page(f"http://{address}".replace("127.0.0.1", "evil.example"), tmp_path, rule) as page,
    ):
        assert await page.evaluate(TAKE_OVER) == [400, 400]


async def test_page_of_the_service_itself_creates_and_lists_users(
    server: tuple[Process, str], tmp_path: Path
) -> None:
    _, origin = server
    async with open_page(f"{origin}/docs", tmp_path) as page:
        await page.text("#swagger-ui")
        assert await page.evaluate(TAKE_OVER) == [201, 200]
