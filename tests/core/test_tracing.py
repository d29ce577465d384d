"""Spans that the service exports to an OpenTelemetry collector."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from httpx import AsyncClient
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.entity_case import UNKNOWN_ID
from tests.support.metrics import find_free_port
from tests.support.processes import PROJECT_ROOT, TIMEOUT_SECONDS, running_server, wait_for_result
from tests.support.trace_collector import TraceCollector, running_trace_collector, string_attributes

pytestmark = pytest.mark.slow

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE_HEADERS = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
# Handles a request. Prints its status and the modules of the OpenTelemetry SDK that are imported.
PRINT_SDK_MODULES = f"""
import asyncio, sys, httpx
from app.main import create_app
from app.settings import Settings

async def handle_request():
    app = create_app(Settings(_env_file=None))
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            print((await client.get("http://test/books/{UNKNOWN_ID}")).status_code)
    print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])

asyncio.run(handle_request())
"""


@asynccontextmanager
async def traced_client(collector: TraceCollector, database_url: str) -> AsyncIterator[AsyncClient]:
    """Yield a client of a server that has exported all its spans when the block ends."""
    async with (
        running_server(
            DATABASE_URL=database_url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint
        ) as (_, origin),
        AsyncClient(base_url=origin) as client,
    ):
        yield client


async def test_request_has_a_span_with_a_span_of_its_statement_inside(
    private_database_url: str,
) -> None:
    with running_trace_collector() as collector:
        async with traced_client(collector, private_database_url) as client:
            await client.get(f"/books/{UNKNOWN_ID}", headers={"X-Request-ID": "mine"})
        spans = collector.spans_by_name
    assert collector.request_paths == {"/v1/traces"}
    assert collector.service_names == {"bookshelf"}
    request_span = spans["GET /books/{id}"]
    statement_span = spans["SELECT"]
    assert statement_span.parent_span_id == request_span.span_id
    assert statement_span.trace_id == request_span.trace_id
    assert statement_span.kind == Span.SPAN_KIND_CLIENT
    assert string_attributes(request_span)["request.id"] == "mine"
    query = string_attributes(statement_span)["db.query.text"]
    assert query.endswith("WHERE books.id = $1::UUID")


async def test_trace_of_the_client_continues_in_the_span_the_log_and_the_metrics(
    private_database_url: str,
) -> None:
    port = find_free_port()
    with running_trace_collector() as collector:
        environment = {
            "DATABASE_URL": private_database_url,
            "LOG_FORMAT": "json",
            "METRICS_PORT": port,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/v1/traces",
        }
        async with running_server(**environment) as (process, origin):
            async with AsyncClient(base_url=origin) as client:
                await client.get("/livez", headers=TRACE_HEADERS)
                open_metrics = {"Accept": "application/openmetrics-text"}
                url = f"http://127.0.0.1:{port}/metrics"
                metrics = (await client.get(url, headers=open_metrics)).text
            assert process.stdout
            async with asyncio.timeout(TIMEOUT_SECONDS):
                async for line in process.stdout:
                    is_log_line = line.startswith(b"{")
                    if is_log_line:
                        break
        assert collector.spans_by_name["GET /livez"].trace_id.hex() == TRACE_ID
    assert json.loads(line)["trace_id"] == TRACE_ID
    # The exemplar of a bucket follows its value, for example `1.0 # {trace_id="..."} 0.0007`.
    assert f'# {{trace_id="{TRACE_ID}"}}' in metrics


async def test_spans_contain_no_input_of_clients(private_database_url: str) -> None:
    secret = f"secret-{uuid4().hex}"
    with running_trace_collector() as collector:
        async with traced_client(collector, private_database_url) as client:
            headers = {"Authorization": f"Bearer {secret}", "Cookie": secret}
            await client.get("/books", params={"q": secret})
            await client.get("/books", params={"X-Amz-Signature": secret, "token": secret})
            await client.get("/books", headers=headers)
            await client.delete(f"/tokens/{secret}", headers=headers)
            await client.post("/authors", json={"name": secret})
            login = {"username": f"{secret}@example.com", "password": secret}
            await client.post("/tokens", data=login)
        exported = b"".join(collector.request_bodies)
    assert b"INSERT INTO authors" in exported
    assert secret.encode() not in exported


async def test_statement_that_fails_has_a_span_with_an_error(private_database_url: str) -> None:
    with running_trace_collector() as collector:
        async with traced_client(collector, private_database_url) as client:
            book = {"title": "The Dispossessed", "author_id": UNKNOWN_ID}
            await client.post("/books", json=book)
        statement_span = collector.spans_by_name["WITH"]
    assert statement_span.status.code == Status.STATUS_CODE_ERROR
    assert "author_id" in string_attributes(statement_span)["db.query.text"]
    # An exception would be an event. Its message contains values.
    assert not statement_span.events


async def test_each_of_several_processes_exports_its_spans_before_it_exits(
    private_database_url: str,
) -> None:
    with running_trace_collector() as collector:
        async with (
            running_server(
                DATABASE_URL=private_database_url,
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
                WEB_CONCURRENCY="2",
            ) as (_, origin),
            AsyncClient(base_url=origin) as client,
        ):
            assert (await client.get("/books")).status_code == 200
        assert "GET /books" in collector.spans_by_name


async def test_request_succeeds_when_the_collector_is_down(private_database_url: str) -> None:
    async with (
        running_server(
            DATABASE_URL=private_database_url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"
        ) as (process, origin),
        AsyncClient(base_url=origin) as client,
    ):
        assert (await client.get("/books")).status_code == 200
    assert process.returncode == 0


async def test_opentelemetry_sdk_is_not_imported_without_an_endpoint(
    private_database_url: str,
) -> None:
    environment = {
        "DATABASE_URL": private_database_url,
        "S3_BUCKET": "unused",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PRINT_SDK_MODULES,
        stdout=PIPE,
        cwd=PROJECT_ROOT / "tests",
        env=environment,
    )
    result = await wait_for_result(process)
    assert result.stdout == "404\n[]\n"
