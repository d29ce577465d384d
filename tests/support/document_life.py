"""The life of documents, as a client program goes through it.

The programs `tests/clients/documents` in other languages do the same, and write the same JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tests.support.document_clients import ClientResponse, DocumentClient, Form
from tests.support.factories import Json

MIB = 1024 * 1024
FILENAMES = {
    "ASCII": "thesis.pdf",
    "accent": "Cien años.pdf",
    "CJK": "百年の孤独.pdf",
    "emoji": "📚 shelf.pdf",
    "quotes": 'a "quoted" name.pdf',
    "backslash": "back\\slash.pdf",
    "semicolon": "a; b=c.pdf",
    "percent": "100%25 %41.pdf",
    "path": "folder/thesis.pdf",
    "255 characters": "ñ" * 251 + ".pdf",
}
SIZES = (0, 1, 8 * MIB, 8 * MIB + 1, 16 * MIB + 1)


@dataclass(frozen=True)
class Plan:
    """The task of a client program. `asdict` turns it into JSON for the other programs."""

    api: str
    # A valid token.
    token: str
    filenames: tuple[str, ...] = tuple(FILENAMES.values())
    sizes: tuple[int, ...] = SIZES
    # The sizes of files that are refused: because they are too large, and because of a field that
    # precedes the file. If the first is 0, the program sends neither. If the server read only 8 MiB
    # after its response, urllib and Java would not get the response.
    too_large: int = 48 * MIB
    with_unknown_field: int = 22 * MIB


def create_content(size: int) -> bytes:
    """Return bytes that differ from those at every other part of the file: 0 to 250, repeated."""
    repeated = bytes(range(251))
    return (repeated * (size // len(repeated) + 1))[:size]


class DocumentLife:
    """Sends the requests of a plan with one client, and returns what the client has received."""

    def __init__(self, client: DocumentClient, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self._url = f"{plan.api}/documents"
        self._headers = {"Authorization": f"Bearer {plan.token}"}

    def run(self) -> Json:
        """Run all parts of the plan."""
        # The refusals come first, so that the client then uses connections after them.
        refused = self.send_refused_files() if self._plan.too_large else {}
        return {
            "refused": refused,
            "names": self.upload_names(),
            "sizes": self.upload_sizes(),
            "change": self.change_document(),
        }

    def upload_names(self) -> list[Json]:
        """Create a document for each filename, and download its file."""
        results = []
        for filename in self._plan.filenames:
            response = self._send_form("POST", self._url, Form(b"content", filename))
            result = {"sent": filename, "status": response.status, "document": response.json()}
            if response.status == 201:
                result["download"] = self._download(response.json()["file_url"])
            results.append(result)
        return results

    def upload_sizes(self) -> list[Json]:
        """Create a document for each size, in both kinds of framing, and download its file."""
        results = []
        for number, size in enumerate(self._plan.sizes):
            # The smallest and the largest file are streamed.
            form = Form(create_content(size), is_streamed=number % 4 == 0)
            response = self._send_form("POST", self._url, form)
            document = response.json()
            result = {
                "status": response.status,
                "size": document["size"],
                "sha256": document["sha256"],
            }
            result["download"] = self._download(document["file_url"])
            results.append(result)
        return results

    def change_document(self) -> Json:
        """Replace the file of a document, read it in all ways, and delete the document."""
        created = self._send_form("POST", self._url, Form(b"first"))
        url = f"{self._url}/{created.json()['id']}"
        condition = {"If-Match": created.headers["etag"]}
        form = Form(b"0123456789", "Åse.txt", "text/plain; charset=utf-8")
        replaced = self._send_form("PATCH", url, form, condition)
        stale = self._send_form("PATCH", url, form, condition)
        file_url = replaced.json()["file_url"]
        byte_range = {"Range": "bytes=2-4"}
        return {
            "replaced": replaced.status,
            "stale": _describe_problem(stale),
            "download": self._download(file_url),
            "redirected": self._download(f"{url}/content", self._headers),
            "head": self._read_head(f"{url}/content"),
            "range": self._send("GET", file_url, byte_range).body.decode(),
            "direct": self._upload_directly(url),
            "deleted": self._send("DELETE", url, self._headers).status,
            "gone": self._send("GET", url, self._headers).status,
        }

    def send_refused_files(self) -> Json:
        """Send files that the service refuses before it has received them."""
        too_large = bytes(self._plan.too_large)
        wrong_token = {"Authorization": "Bearer wrong"}
        unknown_field = Form(bytes(self._plan.with_unknown_field), field_name="title")
        client = self._client
        return {
            "too large": _describe_problem(self._send_form("POST", self._url, Form(too_large))),
            "too large and streamed": _describe_problem(
                self._send_form("POST", self._url, Form(too_large, is_streamed=True))
            ),
            "without a valid token": _describe_problem(
                client.send_form("POST", self._url, wrong_token, Form(too_large))
            ),
            "with an unknown field": _describe_problem(
                self._send_form("POST", self._url, unknown_field)
            ),
        }

    def _upload_directly(self, url: str) -> Json:
        """Upload a file to the store, complete the upload, and return its filename and content."""
        content = create_content(MIB)
        announced = (
            b'{"filename": "direct.bin", "content_type": "application/x-thing", "size": %d}'
            % len(content)
        )
        json_headers = {**self._headers, "Content-Type": "application/json"}
        upload = self._send("POST", f"{url}/uploads", json_headers, announced).json()
        sent = self._send("PUT", upload["parts"][0]["url"], {}, content)
        complete_url = f"{url}/uploads/{upload['id']}/complete"
        completed = self._send("POST", complete_url, self._headers)
        result: Json = {"sent": sent.status, "completed": completed.status}
        if completed.status == 200:
            result["download"] = self._download(completed.json()["file_url"])
        return result

    def _download(self, url: str, headers: Mapping[str, str] | None = None) -> Json:
        """Download a file, and return what the client can see of it."""
        response = self._send("GET", url, headers or {})
        return {
            "status": response.status,
            "disposition": response.headers.get("content-disposition"),
            "content_type": response.headers.get("content-type"),
            "sha256": sha256(response.body).hexdigest(),
        }

    def _read_head(self, url: str) -> Json:
        response = self._send("HEAD", url, self._headers)
        return {"status": response.status, "size": response.headers.get("content-length")}

    def _send_form(
        self, method: str, url: str, form: Form, headers: Mapping[str, str] | None = None
    ) -> ClientResponse:
        """Send a form with the token."""
        return self._client.send_form(method, url, {**self._headers, **(headers or {})}, form)

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> ClientResponse:
        return self._client.send(method, url, dict(headers), body)


def _describe_problem(response: ClientResponse) -> list[Any]:
    """Return the status and the last part of the type of a problem: `[401, "unauthorized"]`."""
    problem: dict[str, Any] = response.json()
    return [response.status, problem["type"].rpartition(":")[2]]
