"""curl and wget as clients of documents. See `document_clients`."""

import re
import subprocess
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.document_clients import ClientResponse, DocumentClient, Form
from tests.support.programs import CURL, WGET

TIMEOUT_SECONDS = "30"


class CurlClient(DocumentClient):
    """curl, with `--form` and `--data-binary`.

    It sends `Expect: 100-continue` before a body of more than 1 MiB.
    """

    def send_form(
        self, method: str, url: str, headers: dict[str, str], form: Form
    ) -> ClientResponse:
        with TemporaryDirectory() as directory:
            file = Path(directory, "content")
            file.write_bytes(form.content)
            # curl itself escapes the filename for the form, but `"` and `\` also end its option.
            filename = re.sub(r'(["\\])', r"\\\1", form.filename)
            options = [
                *("--form-string", f"{form.field_name}=Thesis"),
                *("--form", f'file=@{file};type={form.content_type};filename="{filename}"'),
            ]
            if form.is_streamed:
                options += ["--header", "Transfer-Encoding: chunked"]
            return self._run(method, url, headers, options)

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        with TemporaryDirectory() as directory:
            options = []
            if body is not None:
                file = Path(directory, "content")
                file.write_bytes(body)
                # Unlike `--upload-file`, this option sends the media type of HTML forms, which must
                # not break the signature of a URL for PUT.
                options += ["--data-binary", f"@{file}"]
            return self._run(method, url, headers, options)

    def _run(
        self, method: str, url: str, headers: dict[str, str], options: list[str]
    ) -> ClientResponse:
        assert CURL
        with TemporaryDirectory() as directory:
            head_file = Path(directory, "head")
            body_file = Path(directory, "body")
            body_file.touch()
            method_options = ["--head"] if method == "HEAD" else ["--request", method]
            for name, value in headers.items():
                options += ["--header", f"{name}: {value}"]
            command = [
                *(CURL, "--disable", "--silent", "--show-error", "--location", *method_options),
                *("--max-time", TIMEOUT_SECONDS, "--noproxy", "*"),
                *("--dump-header", str(head_file), "--output", str(body_file), *options, url),
            ]
            result = subprocess.run(command, capture_output=True, check=False)
            assert result.returncode == 0, result.stderr.decode()
            body = b"" if method == "HEAD" else body_file.read_bytes()
            return _parse_response(head_file.read_bytes(), body)


class WgetClient(DocumentClient):
    """wget, which can download only."""

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> ClientResponse:
        """Send a request without a body."""
        assert WGET
        assert body is None
        command = [
            *(WGET, "--no-config", "--no-verbose", "--no-proxy", "--tries=1", "--content-on-error"),
            *("--save-headers", "--server-response", f"--timeout={TIMEOUT_SECONDS}"),
            *(f"--header={name}: {value}" for name, value in headers.items()),
            *(f"--method={method}", "--output-document=-", url),
        ]
        result = subprocess.run(command, capture_output=True, check=False)
        head, _, content = result.stdout.partition(b"\r\n\r\n")
        return _parse_response(head, content)


def _parse_response(heads: bytes, body: bytes) -> ClientResponse:
    """Parse the heads of several responses, which lead to the last one, and return this one."""
    last_head = heads.decode("latin-1").strip().split("\r\n\r\n")[-1]
    status_line, _, header_lines = last_head.partition("\r\n")
    message = HeaderParser().parsestr(header_lines)
    headers = {name.lower(): value for name, value in message.items()}
    return ClientResponse(int(status_line.split()[1]), headers, body)
