"""An OTLP collector that keeps the spans it receives."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class TraceCollector(ThreadingHTTPServer):
    """Responds 200 to each request, and keeps the path and the body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _RequestHandler)
        self.request_bodies: list[bytes] = []
        self.request_paths: set[str] = set()

    @property
    def endpoint(self) -> str:
        """The address of the collector: `http://127.0.0.1:54321`."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def service_names(self) -> set[str]:
        """The names of the services that have sent spans."""
        return {
            attribute.value.string_value
            for resource_spans in self._resource_spans()
            for attribute in resource_spans.resource.attributes
            if attribute.key == "service.name"
        }

    @property
    def spans_by_name(self) -> dict[str, Span]:
        """All spans by their names. If several have the same name, the last one."""
        return {
            span.name: span
            for resource_spans in self._resource_spans()
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        }

    def _resource_spans(self) -> Iterator[ResourceSpans]:
        """Yield the spans of all requests, grouped by the service that sent them."""
        for body in self.request_bodies:
            yield from ExportTraceServiceRequest.FromString(body).resource_spans


class _RequestHandler(BaseHTTPRequestHandler):
    """Stores the body and path of a request in the collector."""

    server: TraceCollector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.request_bodies.append(body)
        self.server.request_paths.add(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing, because the base class would write each request to standard error."""


@contextmanager
def running_trace_collector() -> Iterator[TraceCollector]:
    """Run a collector in a thread, until the block ends."""
    with TraceCollector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def string_attributes(span: Span) -> dict[str, str]:
    """Return the attributes of a span whose values are strings: `{"http.route": "/authors"}`."""
    return {
        attribute.key: attribute.value.string_value
        for attribute in span.attributes
        if attribute.value.HasField("string_value")
    }
