"""HTTP clients of Python with one interface, so that tests can do the same with each of them."""

import asyncio
import io
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

import aiohttp
import httpx
import requests

BOUNDARY = "a-boundary"
FORM_HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
CHUNK_SIZE = 64 * 1024
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Form:
    """A document form. It is sent in chunks, without a Content-Length, if `is_streamed` is True."""

    content: bytes
    filename: str = "thesis.pdf"
    content_type: str = "application/pdf"
    # The name of the text field, which comes before the file.
    field_name: str = "name"
    is_streamed: bool = False


@dataclass(frozen=True)
class ClientResponse:
    """The response that a client program passes on. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class DocumentClient:
    """An HTTP client. Its methods follow redirects as the client does by default."""

    def send_form(
        self, method: str, url: str, headers: dict[str, str], form: Form
    ) -> ClientResponse:
        """Send a form in the way that the documentation of the client recommends."""
        raise NotImplementedError

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        """Send a request, with a body if it is not None."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections that the client keeps."""


class HttpxClient(DocumentClient):
    """httpx, with a file that the form encodes, or a generator."""

    def __init__(self) -> None:
        self._client = httpx.Client(trust_env=False, follow_redirects=True, timeout=TIMEOUT_SECONDS)

    def send_form(
        self, method: str, url: str, headers: dict[str, str], form: Form
    ) -> ClientResponse:
        if form.is_streamed:
            streamed = stream_form(form)
            return self._send(method, url, {**headers, **FORM_HEADERS}, content=streamed)
        files = {"file": (form.filename, form.content, form.content_type)}
        return self._send(method, url, headers, data={form.field_name: "Thesis"}, files=files)

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        return self._send(method, url, headers, content=body)

    def close(self) -> None:
        self._client.close()

    def _send(
        self, method: str, url: str, headers: dict[str, str], **options: Any
    ) -> ClientResponse:
        response = self._client.request(method, url, headers=headers, **options)
        return ClientResponse(response.status_code, response.headers, response.content)


class RequestsClient(DocumentClient):
    """requests, with a file that the form encodes, or a generator."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False

    def send_form(
        self, method: str, url: str, headers: dict[str, str], form: Form
    ) -> ClientResponse:
        if form.is_streamed:
            return self._send(method, url, {**headers, **FORM_HEADERS}, data=stream_form(form))
        files = {"file": (form.filename, form.content, form.content_type)}
        return self._send(method, url, headers, data={form.field_name: "Thesis"}, files=files)

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        return self._send(method, url, headers, data=body)

    def close(self) -> None:
        self._session.close()

    def _send(
        self, method: str, url: str, headers: dict[str, str], **options: Any
    ) -> ClientResponse:
        response = self._session.request(
            method, url, headers=headers, timeout=TIMEOUT_SECONDS, **options
        )
        return ClientResponse(
            response.status_code, _lower_names(response.headers), response.content
        )


class AiohttpClient(DocumentClient):
    """aiohttp, with its `FormData`. A streamed form contains a generator."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._session = self._runner.run(self._open_session())

    def send_form(
        self, method: str, url: str, headers: dict[str, str], form: Form
    ) -> ClientResponse:
        # Otherwise, aiohttp percent-encodes filenames, although they are between quotes.
        data = aiohttp.FormData(quote_fields=False)
        data.add_field(form.field_name, "Thesis")
        # aiohttp warns of a large body in memory.
        content = _split_async(form.content) if form.is_streamed else io.BytesIO(form.content)
        data.add_field("file", content, filename=form.filename, content_type=form.content_type)
        return self._runner.run(self._send(method, url, headers, data))

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        data = None if body is None else io.BytesIO(body)
        return self._runner.run(self._send(method, url, headers, data))

    def close(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    async def _open_session(self) -> aiohttp.ClientSession:
        """Create the session, which needs a running event loop."""
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS))

    async def _send(
        self, method: str, url: str, headers: dict[str, str], data: Any
    ) -> ClientResponse:
        async with self._session.request(method, url, headers=headers, data=data) as response:
            body = await response.read()
            return ClientResponse(response.status, _lower_names(response.headers), body)


class UrllibClient(DocumentClient):
    """The standard library of Python, which encodes no forms."""

    def send_form(
        self, method: str, url: str, headers: dict[str, str], form: Form
    ) -> ClientResponse:
        streamed_body = stream_form(form)
        body = streamed_body if form.is_streamed else b"".join(streamed_body)
        return self._send(method, url, {**headers, **FORM_HEADERS}, body)

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        return self._send(method, url, headers, body)

    def _send(self, method: str, url: str, headers: dict[str, str], body: Any) -> ClientResponse:
        request = urllib.request.Request(url, body, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            response: HTTPResponse | urllib.error.HTTPError = opener.open(
                request, timeout=TIMEOUT_SECONDS
            )
        except urllib.error.HTTPError as error:
            response = error
        with response:
            body = response.read()
        return ClientResponse(response.status or 0, _lower_names(response.headers), body)


def stream_form(form: Form) -> Iterator[bytes]:
    """Yield the body of a form, for clients that encode no forms themselves."""
    filename = form.filename.replace('"', "%22")
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{form.field_name}"\r\n\r\n'
        f"Thesis\r\n--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        f"Content-Type: {form.content_type}\r\n\r\n"
    )
    yield head.encode()
    yield from split(form.content)
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def split(content: bytes) -> Iterator[bytes]:
    """Yield the content in chunks."""
    for start in range(0, len(content), CHUNK_SIZE):
        yield content[start : start + CHUNK_SIZE]


async def _split_async(content: bytes) -> AsyncIterator[bytes]:
    for chunk in split(content):
        yield chunk


def _lower_names(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
