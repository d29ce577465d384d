"""A little OTLP collector: what it was sent, as spans."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class TraceCollector(ThreadingHTTPServer):
    """Answers 200 and keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.request_bodies: list[bytes] = []
        self.request_paths: set[str] = set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def service_names(self) -> set[str]:
        """What the senders call themselves."""
        return {
            attribute.value.string_value
            for content in self.request_bodies
            for resource in ExportTraceServiceRequest.FromString(content).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    @property
    def spans_by_name(self) -> dict[str, Span]:
        """All of them by name; the last of each."""
        return {
            span.name: span
            for content in self.request_bodies
            for resource in ExportTraceServiceRequest.FromString(content).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


class _Receiver(BaseHTTPRequestHandler):
    server: TraceCollector

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        zipped = self.headers.get("Content-Encoding") == "gzip"
        self.server.request_bodies.append(gzip.decompress(content) if zipped else content)
        self.server.request_paths.add(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_trace_collector() -> Iterator[TraceCollector]:
    with TraceCollector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def string_attributes(span: Span) -> dict[str, str]:
    """Those that are strings."""
    return {
        each.key: each.value.string_value
        for each in span.attributes
        if each.value.HasField("string_value")
    }
