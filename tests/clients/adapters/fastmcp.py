"""Run the scenario with the tools of the MCP server that FastMCP builds."""

import asyncio
import json
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import httpx
from bookshelf_server import create_server
from fastmcp import Client
from mcp_types import TextContent
from pydantic import TypeAdapter
from scenario import Changes, Page, ProblemError, run_scenario

Result = TypeVar("Result")


@dataclass
class User:
    email: str


@dataclass
class Author:
    id: UUID
    name: str
    dob: date | None
    version: str


@dataclass
class Book:
    id: UUID
    title: str
    version: str


@dataclass
class BookPage:
    items: list[Book]
    total: int | None
    next: str | None


@dataclass
class Change:
    id: str
    kind: str


@dataclass
class ChangePage:
    items: list[Change]
    next: str


@dataclass
class Document:
    id: UUID
    filename: str | None
    content_type: str | None
    size: int | None
    sha256: str | None
    file_url: str | None


@dataclass
class Part:
    url: str


@dataclass
class Upload:
    id: UUID
    parts: list[Part]


def parse_error(text: str) -> ProblemError:
    """Parse "HTTP error 404: Not Found - {...}", whose JSON is the problem."""
    problem = json.loads(text.partition(" - ")[2])
    errors = [(item.get("pointer"), item["code"]) for item in problem.get("errors", [])]
    return ProblemError(problem["status"], problem["type"], problem["detail"], errors)


class McpClient:
    def __init__(self, origin: str, token: str | None = None) -> None:
        self.server = create_server(origin, token)
        self.runner = asyncio.Runner()

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool, and return its JSON. Raise `ProblemError` for an error response."""
        # An agent sends JSON, so ids and dates are texts.
        json_arguments = TypeAdapter(dict[str, Any]).dump_python(arguments, mode="json")
        async with Client(self.server) as client:
            result = await client.call_tool_mcp(tool, json_arguments)
        text = "".join(item.text for item in result.content if isinstance(item, TextContent))
        if result.is_error:
            raise parse_error(text)
        # Only responses with JSON are structured.
        return text if result.structured_content is None else result.structured_content

    def use(self, tool: str, result_type: type[Result], /, **arguments: Any) -> Result:
        """Call a tool, and return the fields of its result that the scenario needs."""
        result = self.runner.run(self.call(tool, arguments))
        return TypeAdapter(result_type).validate_python(result)

    def create_token(self, email: str, password: str) -> str:
        token = self.use("create_token", dict[str, Any], username=email, password=password)
        return str(token["access_token"])

    def create_user(self, name: str, email: str, password: str) -> User:
        return self.use("create_user", User, name=name, email=email, password=password)

    def read_current_user(self) -> User:
        return self.use("read_current_user", User)

    def create_author(self, name: str, dob: date | None, idempotency_key: str) -> Author:
        fields = {"name": name, "dob": dob, "Idempotency-Key": idempotency_key}
        return self.use("create_author", Author, **fields)

    def clear_date_of_birth(self, id: UUID, if_match: str) -> Author:
        return self.use("update_author", Author, **{"id": id, "dob": None, "If-Match": if_match})

    def delete_author(self, id: UUID) -> None:
        self.use("delete_author", Any, id=id)

    def create_book(self, title: str, author_id: UUID) -> Book:
        return self.use("create_book", Book, title=title, author_id=author_id)

    def list_books(self, author_id: UUID, ids: list[UUID], cursor: str | None) -> Page:
        filters = {"author_id": author_id, "id": ids, "q": "book"}
        query = {**filters, "sort": ["-title", "created_at"], "size": 2, "cursor": cursor}
        page = self.use("list_books", BookPage, **query)
        return Page(page.items, page.total, page.next)

    def export_books(self, author_id: UUID) -> str:
        return self.use("download_books_csv", str, author_id=author_id)

    def delete_book(self, id: UUID) -> None:
        self.use("delete_book", Any, id=id)

    def delete_books(self, ids: list[UUID]) -> int:
        return self.use("delete_books", dict[str, int], ids=ids)["deleted"]

    def list_changes(self, after: str, wait: int) -> Changes:
        page = self.use("list_changes", ChangePage, after=after, wait=wait)
        return Changes([(item.id, item.kind) for item in page.items], page.next)

    def create_document(self, name: str, filename: str, content: bytes) -> Document:
        """Create a document without a file, and upload its file directly to the object store.

        A tool cannot send a form with a file, because its arguments are JSON.
        """
        document = self.use("create_document", Document, name=name)
        upload = self.use(
            "create_upload",
            Upload,
            id=document.id,
            filename=filename,
            content_type="text/plain",
            size=len(content),
            sha256=sha256(content).hexdigest(),
        )
        [part] = upload.parts
        httpx.put(part.url, content=content, trust_env=False).raise_for_status()
        return self.use("complete_upload", Document, id=document.id, upload_id=upload.id)

    def read_document(self, id: UUID) -> Document:
        return self.use("read_document", Document, id=id)

    def delete_document(self, id: UUID) -> None:
        self.use("delete_document", Any, id=id)


if __name__ == "__main__":
    run_scenario(McpClient)
