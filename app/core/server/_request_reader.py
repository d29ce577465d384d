"""The receiving half of an HTTP connection: parses requests, strictly and with limits."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.core.errors import MalformedRequest, ServiceError
from app.core.http import RequestHeaderFieldsTooLarge
from app.core.server._chunk_overhead import ChunkOverhead
from app.core.server._cors import Headers
from app.core.server._fast_response_cycle import FastResponseCycle
from app.core.server._head_errors import TooManyPipelinedRequests
from app.core.server._request_head import (
    MAX_HEAD_HEADERS,
    MAX_WAITING_REQUESTS,
    REQUEST_LINE_ENDS,
    RejectedHead,
    build_head_without_upgrade,
    find_head_error,
    find_size_error,
    set_target,
)
from app.core.server._response_cycle import ResponseCycle, ResponseTransport


class RequestReader(HttpToolsProtocol):
    """Turns the bytes of a connection into requests, and starts the application for each of them.

    uvicorn's class and its parser do most of the work. This class differs from them:

    - An Upgrade header is ignored (RFC 9110, section 7.8). The parser would not read the body of
      such a request, and would take it for the next request. It therefore reads the head again,
      without this header.
    - The request line must have single spaces and the version 1.0 or 1.1.
    - The only Transfer-Encoding is chunked. Trailers are dropped; uvicorn takes them for headers.
    - The size of the head, the number of headers, the overhead of chunks and the number of waiting
      requests are limited.
    """

    def __init__(self, *args: Any, http_fast_path: bool = True, **options: Any) -> None:
        """Create the state of a new connection, with the arguments of uvicorn's class."""
        super().__init__(*args, **options)
        self._create_cycle = FastResponseCycle if http_fast_path else ResponseCycle
        self._response_transport: ResponseTransport
        # The request that the application is responding to, or has responded to last. uvicorn calls
        # a request and its response a cycle. `self.cycle` is the one received last.
        self._current_cycle: RequestResponseCycle | None = None
        # The first byte of a request has arrived, but not its whole head.
        self._is_reading_head = False
        self._is_reading_body = False
        # The bytes that have arrived since the end of the last complete head or message.
        self._head_size = 0
        # The values of the Transfer-Encoding headers of the request that is being received.
        self._transfer_encodings: list[bytes] = []
        # The parser has stopped behind a head with an Upgrade header, and has to read it again.
        self._must_reread_head = False
        # A new parser is reading the head without this header.
        self._is_rereading_head = False
        # The bytes in which the current head began, and the end of the last request line in them.
        self._segment = b""
        self._line_end = 0
        self._chunk_overhead = ChunkOverhead()

    def _read(self, data: bytes) -> ServiceError | None:
        """Parse bytes that the client has sent.

        Return the error with which to reject the request that is being received, or None.
        """
        self._segment = self._segment[self._line_end :] + data if self._is_reading_head else data
        self._line_end = 0
        self._head_size += len(data)
        if self._is_reading_body:
            self._chunk_overhead.add_received(len(data))

        try:
            self._parse(data)
        except httptools.HttpParserError as parser_error:
            if isinstance(parser_error.__context__, RejectedHead):
                return parser_error.__context__.error
            return MalformedRequest("The message is not valid HTTP")

        if self._is_reading_head:
            return find_size_error(self._head_size, len(self.url))
        # Do not keep the bytes in memory.
        self._segment = b""
        if self._is_reading_body:
            return self._chunk_overhead.find_error()
        return None

    def _parse(self, data: bytes) -> None:
        """Feed the parser. If it stops at a head with an Upgrade header, restart it."""
        unparsed: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(unparsed)
            except httptools.HttpParserUpgrade as upgrade:
                # The argument is the position at which the parser has stopped. A view avoids
                # copying the rest for each of many such requests.
                unparsed = memoryview(unparsed)[upgrade.args[0] :]
                self._reread_head()
            else:
                return

    def _reread_head(self) -> None:
        """Let a new parser read the head of the current request without its Upgrade header."""
        head = build_head_without_upgrade(
            self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
        )
        self._must_reread_head = False
        self._is_rereading_head = True
        self.parser = httptools.HttpRequestParser(self)
        # Let the application respond to a request with `Connection: close` despite later bytes.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)
        self._is_rereading_head = False

    # The parser calls the following methods.

    def on_message_begin(self) -> None:
        """Begin to receive a request."""
        self._is_reading_head = True
        self._transfer_encodings = []
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header, or a trailer."""
        name = name.lower()
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEAD_HEADERS and self._is_reading_head:
            raise RejectedHead(RequestHeaderFieldsTooLarge())
        if name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"transfer-encoding":
            self._transfer_encodings.append(value)

    def on_headers_complete(self) -> None:
        """Start the application for the request, or let the request wait for earlier ones."""
        method: bytes = self.parser.get_method()
        version: str = self.parser.get_http_version()
        error = find_head_error(method, version, self._transfer_encodings)
        if error is not None:
            raise RejectedHead(error)
        if not self._is_rereading_head:
            self._check_request_line(method, version)
        if self.parser.should_upgrade():
            self._must_reread_head = True
            return

        self.scope["method"] = method.decode("ascii")
        self.scope["http_version"] = version
        set_target(self.scope, self.url, self.root_path)
        self._start_or_queue(version)

        self._is_reading_head = False
        self._is_reading_body = True
        self._head_size = 0
        self._chunk_overhead.begin_body()
        # Trailers that follow a chunked body go to this list instead of that of the scope.
        self.headers = []

    def _check_request_line(self, method: bytes, version: str) -> None:
        """Reject a request line that the parser accepts, but that has more than single spaces."""
        request_line = b" ".join((method, self.url, REQUEST_LINE_ENDS[version]))
        position = self._segment.find(request_line, self._line_end)
        if position < 0:
            raise RejectedHead(MalformedRequest("The request line is malformed"))
        self._line_end = position + len(request_line)

    def _start_or_queue(self, version: str) -> None:
        """Start the application for a complete head, after the earlier requests of the client."""
        if len(self.pipeline) == MAX_WAITING_REQUESTS:
            raise RejectedHead(TooManyPipelinedRequests())
        self.cycle = self._create_cycle(
            scope=self.scope,
            # A response uses only the methods that this class has.
            transport=self._response_transport,  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            # HTTP/1.0 has neither interim responses nor, in uvicorn, persistent connections.
            expect_100_continue=version != "1.0" and self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if self._is_responding():
            # HTTP pipelining: the client has not waited for the earlier response.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def _is_responding(self) -> bool:
        """Return whether a response is in progress."""
        cycle = self._current_cycle
        return cycle is not None and not cycle.response_complete

    def _get_received_headers(self) -> Headers:
        """Return the headers of the last request, as far as they have arrived."""
        if self._is_reading_body:
            return list(self.cycle.scope["headers"])
        # uvicorn sets this attribute when the first request begins.
        return self.headers or []

    def _drop_incomplete_request(self) -> None:
        """Remove the request whose body is incomplete from those that wait for a response."""
        self.pipeline.popleft()
        self._is_reading_body = False
        if self.pipeline:
            self.cycle, _ = self.pipeline[0]
        elif self._current_cycle is not None:
            self.cycle = self._current_cycle

    def _drop_waiting_requests(self) -> None:
        """Remove the requests that wait for a response, because they will not get one."""
        self.pipeline.clear()
        if self._current_cycle is not None:
            # A request that is not started would refer to this object, and the object to it.
            self.cycle = self._current_cycle

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def on_chunk_header(self) -> None:
        """Count the chunks of a body."""
        self._chunk_overhead.subtract_chunk()

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body."""
        self._chunk_overhead.subtract_content(len(body))
        cycle = self.cycle
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Receive the end of the body."""
        if self._must_reread_head:
            return
        self._is_reading_body = False
        self._head_size = 0
        self.cycle.more_body = False
        self.cycle.message_event.set()
