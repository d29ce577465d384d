"""The log line of a request that does not go through `logging`, compared with the one that does."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import product
from select import PIPE_BUF
from typing import Any, Final
from urllib.parse import quote

import pytest
from httpx import AsyncClient
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from app.core.observability import (
    RequestFields,
    create_log_formatter,
    current_request_id,
    log_request,
    logs_requests,
)
from app.core.observability._request_log import format_request_line
from tests.support.log_pipe import CountingHandler, Pipe

HOSTILE_TEXTS: Final = (
    "",
    "/books/0199b2f4-0199-7b2f-8b2f-0199b2f40199",
    'a"b\\c/d',
    "a\r\nb\x1b[31m\x00\x7f\x80\x85\x9b\u2028\u2029z",
    "".join(map(chr, range(256))),
    "日本語 \U0001f600 e\u0301",
    "lone surrogates \ud800 \udfff",
    '", "status": 200, "forged": "',
    "{}%s%(path)s{0}{path}",
)
NUMBERS: Final = (0.0, 0.01, 1.0, 1234.56, 1e-05, 1e16, 123456789012.34)
CREATED_AT: Final = 1764530000.98765


def make_fields(**changes: object) -> RequestFields:
    return {
        "method": "GET",
        "route": "/books/{id}",
        "path": "/books/7",
        "status": 200,
        "duration_ms": 1.94,
        "sql": 1,
        "sql_ms": 1.21,
        **changes,  # type: ignore[typeddict-item]
    }


def format_with_logging(fields: RequestFields) -> str:
    """Return the line that the formatter creates from a record."""
    logger = logging.getLogger("app.access")
    record = logger.makeRecord(
        logger.name, logging.INFO, "", 0, "request", (), None, extra=dict(fields)
    )
    record.created = CREATED_AT
    return create_log_formatter("json").format(record)


@contextmanager
def logging_to(pipe: Pipe) -> Iterator[None]:
    """Log as in production, with a pipe in place of standard error.

    This is not a fixture, because pytest adds handlers before it calls the test function. With
    these, all lines would go through `logging`.
    """
    application_log = logging.getLogger("app")
    access_log = logging.getLogger("app.access")
    earlier_handlers = application_log.handlers
    application_log.handlers = [pipe.handler]
    application_log.propagate = False
    access_log.setLevel(logging.INFO)
    try:
        yield
    finally:
        application_log.handlers = earlier_handlers
        application_log.propagate = True
        access_log.setLevel(logging.NOTSET)


def test_line_equals_that_of_the_formatter_for_hostile_texts() -> None:
    for name, text in product(("method", "route", "path"), HOSTILE_TEXTS):
        fields = make_fields(**{name: text})
        assert format_request_line(fields, CREATED_AT) == format_with_logging(fields)


def test_line_equals_that_of_the_formatter_for_all_numbers() -> None:
    for number, status, sql in product(NUMBERS, (0, 200, 499, 503), (0, 1, 1000)):
        fields = make_fields(duration_ms=number, sql_ms=number, status=status, sql=sql)
        assert format_request_line(fields, CREATED_AT) == format_with_logging(fields)


@pytest.mark.parametrize("request_id", HOSTILE_TEXTS)
def test_line_equals_that_of_the_formatter_for_hostile_request_ids(request_id: str) -> None:
    token = current_request_id.set(request_id)
    try:
        fields = make_fields()
        assert format_request_line(fields, CREATED_AT) == format_with_logging(fields)
    finally:
        current_request_id.reset(token)


@pytest.mark.parametrize("trace_flags", [TraceFlags.DEFAULT, TraceFlags.SAMPLED])
def test_line_equals_that_of_the_formatter_with_a_trace(trace_flags: int) -> None:
    context = SpanContext(2**127 + 1, 7, is_remote=True, trace_flags=TraceFlags(trace_flags))
    fields = make_fields()
    with use_span(NonRecordingSpan(context)):
        line = format_request_line(fields, CREATED_AT)
        assert line == format_with_logging(fields)
    assert json.loads(line)["trace_id"] == "8" + "0" * 30 + "1"


def test_line_is_written_without_a_record(pipe: Pipe) -> None:
    with logging_to(pipe):
        log_request(logging.INFO, make_fields())
        line = pipe.read()
        assert line.count("\n") == 1
        assert json.loads(line)["event"] == "request"
        assert pipe.handler.record_count == 0


@pytest.mark.parametrize(
    ("level", "error"),
    [
        (logging.WARNING, None),
        (logging.ERROR, RuntimeError("a fault")),
        (logging.INFO, RuntimeError("a fault")),
    ],
)
def test_line_of_a_failed_request_goes_through_logging(
    pipe: Pipe, level: int, error: Exception | None
) -> None:
    with logging_to(pipe):
        log_request(level, make_fields(cut_off="too slow"), error)
        entry = json.loads(pipe.read())
        assert entry["level"] == logging.getLevelName(level)
        assert entry["cut_off"] == "too slow"
        assert ("exception" in entry) == (error is not None)
        assert pipe.handler.record_count == 1


def _add_handler(_: Pipe) -> None:
    logging.getLogger("app").addHandler(logging.NullHandler())


def _add_filter(pipe: Pipe) -> None:
    pipe.handler.addFilter(lambda record: record.name == "app.access")


def _use_console_format(pipe: Pipe) -> None:
    pipe.handler.setFormatter(create_log_formatter("console"))


def _use_another_json_format(pipe: Pipe) -> None:
    pipe.handler.setFormatter(logging.Formatter('{"event": "%(message)s"}'))


@pytest.mark.parametrize(
    "configure", [_add_handler, _add_filter, _use_console_format, _use_another_json_format]
)
def test_line_goes_through_logging_with_another_configuration(
    pipe: Pipe, configure: Callable[[Pipe], None]
) -> None:
    with logging_to(pipe):
        configure(pipe)
        log_request(logging.INFO, make_fields())
        assert pipe.read().count("\n") == 1
        assert pipe.handler.record_count == 1


def test_line_goes_through_the_filter_of_its_logger(pipe: Pipe) -> None:
    with logging_to(pipe):

        def refuse(record: logging.LogRecord) -> bool:
            return bool(record.__dict__["path"] != "/livez")

        access_log = logging.getLogger("app.access")
        access_log.addFilter(refuse)
        try:
            log_request(logging.INFO, make_fields(path="/livez"))
            log_request(logging.INFO, make_fields(path="/books"))
        finally:
            access_log.removeFilter(refuse)
        assert json.loads(pipe.read())["path"] == "/books"


def test_line_goes_through_a_record_factory(pipe: Pipe) -> None:
    with logging_to(pipe):

        def create_record(*arguments: Any, **options: Any) -> logging.LogRecord:
            return logging.LogRecord(*arguments, **options)

        logging.setLogRecordFactory(create_record)
        try:
            log_request(logging.INFO, make_fields())
        finally:
            logging.setLogRecordFactory(logging.LogRecord)
        assert pipe.handler.record_count == 1


def test_line_goes_to_the_handlers_of_a_host(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    with logging_to(pipe):
        # pytest's handler of the root gets the line, too.
        logging.getLogger("app").propagate = True
        log_request(logging.INFO, make_fields())
        assert [record.getMessage() for record in caplog.records] == ["request"]
        assert json.loads(pipe.read())["event"] == "request"
        assert pipe.handler.record_count == 1


def test_lost_line_of_a_stream_without_a_descriptor_is_reported_by_logging(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = StringIO()
    with logging_to(pipe):
        pipe.handler = CountingHandler(stream)
        pipe.handler.setFormatter(create_log_formatter("json"))
        logging.getLogger("app").handlers = [pipe.handler]
        stream.close()
        log_request(logging.INFO, make_fields())
    assert "I/O operation on closed file" in capsys.readouterr().err


@pytest.mark.parametrize("character", ["a", "\x7f", '"', "é", "\U0001f600"])
async def test_line_of_a_long_path_is_written_in_one_piece(
    client: AsyncClient, caplog: pytest.LogCaptureFixture, character: str
) -> None:
    with caplog.at_level(logging.INFO, "app.access"):
        await client.get("/" + f"{quote(character) * 36}/" * 14)
    [line] = [
        create_log_formatter("json").format(record)
        for record in caplog.records
        if record.name == "app.access"
    ]
    # The kernel does not write more bytes to a pipe in one piece. The id may have 128 characters.
    assert len(line) + 128 < PIPE_BUF


async def test_long_segment_is_not_logged_if_it_begins_before_the_end_of_the_logged_path(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "secret" * 10
    with caplog.at_level(logging.INFO, "app.access"):
        await client.get("/" + "abcd/" * 96 + secret)
    [path] = [record.__dict__["path"] for record in caplog.records if record.name == "app.access"]
    assert path == "/" + "abcd/" * 96 + "..."


def test_nothing_is_written_above_the_level_of_the_handler(pipe: Pipe) -> None:
    with logging_to(pipe):
        pipe.handler.setLevel(logging.WARNING)
        log_request(logging.INFO, make_fields())
        assert pipe.read() == ""


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_requests_are_not_logged_below_the_level_or_when_disabled(pipe: Pipe, level: int) -> None:
    with logging_to(pipe):
        access_log = logging.getLogger("app.access")
        assert logs_requests(level)
        access_log.setLevel(level + 1)
        assert not logs_requests(level)
        access_log.setLevel(level)
        access_log.disabled = True
        assert not logs_requests(level)
        access_log.disabled = False
        assert logs_requests(level)
        assert pipe.read() == ""
