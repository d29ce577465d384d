"""Spans as a real collector gets them from a real process, and nothing where there is none."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from httpx import AsyncClient
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.authors.test_authors import NOBODY
from tests.support.processes import PROJECT_ROOT, TIMEOUT_SECONDS, running_server, wait_for_result
from tests.support.trace_collector import TraceCollector, running_trace_collector, string_attributes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
# An application that answers a request, and whether it has loaded what sends spans.
LOADED = f"""
import asyncio, sys, httpx
from app.main import create_app
from app.settings import Settings

async def answer():
    app = create_app(Settings(_env_file=None))
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            print((await client.get("http://test/books/{NOBODY}")).status_code)
    print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])

asyncio.run(answer())
"""


@asynccontextmanager
async def traced(collector: TraceCollector, url: str) -> AsyncIterator[AsyncClient]:
    """A client of a server that has sent all of its spans when the block has ended."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    async with (
        running_server(DATABASE_URL=url, **endpoint) as (_, origin),
        AsyncClient(base_url=origin) as client,
    ):
        yield client


async def test_a_request_and_its_statement_are_spans_when_the_server_has_ended(
    private_database_url: str,
) -> None:
    with running_trace_collector() as collector:
        async with traced(collector, private_database_url) as client:
            await client.get(f"/books/{NOBODY}", headers={"X-Request-ID": "mine"})
        spans = collector.spans_by_name
    assert collector.request_paths == {"/v1/traces"}
    assert collector.service_names == {"bookshelf"}
    of_request, statement = spans["GET /books/{id}"], spans["SELECT"]
    assert statement.parent_span_id == of_request.span_id
    assert statement.trace_id == of_request.trace_id
    assert statement.kind == Span.SPAN_KIND_CLIENT
    assert string_attributes(of_request)["request.id"] == "mine"
    assert string_attributes(statement)["db.query.text"].endswith("WHERE books.id = $1::UUID")


async def test_a_trace_that_begins_elsewhere_goes_on_here_and_in_the_log(
    private_database_url: str,
) -> None:
    with running_trace_collector() as collector:
        endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/v1/traces"}
        environment = {"DATABASE_URL": private_database_url, "LOG_FORMAT": "json", **endpoint}
        async with running_server(**environment) as (process, origin):
            async with AsyncClient(base_url=origin) as client:
                await client.get("/livez", headers=PARENT)
            assert process.stdout
            async with asyncio.timeout(TIMEOUT_SECONDS):
                async for line in process.stdout:
                    if line.startswith(b"{"):
                        break
        assert collector.spans_by_name["GET /livez"].trace_id.hex() == TRACE
    assert json.loads(line)["trace_id"] == TRACE


async def test_no_span_says_what_a_client_sent_but_ids(private_database_url: str) -> None:
    secret = f"secret-{uuid4().hex}"
    with running_trace_collector() as collector:
        async with traced(collector, private_database_url) as client:
            auth = {"Authorization": f"Bearer {secret}", "Cookie": secret}
            await client.get("/books", params={"q": secret})
            await client.get("/books", params={"X-Amz-Signature": secret, "token": secret})
            await client.get("/books", headers=auth)
            await client.delete(f"/tokens/{secret}", headers=auth)
            await client.post("/authors", json={"name": secret})
            form = {"username": f"{secret}@example.com", "password": secret}
            await client.post("/tokens", data=form)
        sent = b"".join(collector.request_bodies)
    assert b"INSERT INTO authors" in sent
    assert secret.encode() not in sent


async def test_a_statement_that_fails_is_a_failed_span(private_database_url: str) -> None:
    with running_trace_collector() as collector:
        async with traced(collector, private_database_url) as client:
            body = {"title": "The Dispossessed", "author_id": NOBODY}
            await client.post("/books", json=body)
        statement = collector.spans_by_name["WITH"]
    assert statement.status.code == Status.STATUS_CODE_ERROR
    assert "author_id" in string_attributes(statement)["db.query.text"]
    assert not statement.events


async def test_a_collector_that_is_not_there_is_no_failure_of_ours(
    private_database_url: str,
) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with (
        running_server(DATABASE_URL=private_database_url, **endpoint) as (process, origin),
        AsyncClient(base_url=origin) as client,
    ):
        assert (await client.get("/books")).status_code == 200
    assert process.returncode == 0


async def test_without_an_endpoint_nothing_is_loaded_that_sends_spans(
    private_database_url: str,
) -> None:
    environment = {
        "DATABASE_URL": private_database_url,
        "S3_BUCKET": "unused",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOADED, stdout=PIPE, cwd=PROJECT_ROOT / "tests", env=environment
    )
    assert (await wait_for_result(process)).stdout == "404\n[]\n"
