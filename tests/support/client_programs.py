"""Runs the life of documents with a client program, or with a library of Python."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from tests.support.chromium import CHROMIUM, open_page
from tests.support.document_clients import (
    AiohttpClient,
    DocumentClient,
    HttpxClient,
    RequestsClient,
    UrllibClient,
)
from tests.support.document_life import DocumentLife, Plan
from tests.support.document_programs import CURL, CurlClient
from tests.support.factories import Json
from tests.support.processes import PROJECT_ROOT

PYTHON_CLIENTS: dict[str, type[DocumentClient]] = {
    "httpx": HttpxClient,
    "requests": RequestsClient,
    "aiohttp": AiohttpClient,
    "urllib": UrllibClient,
    "curl": CurlClient,
}
CLIENT_NAMES = (*PYTHON_CLIENTS, "node", "java", "chromium")
# The paths of the programs that clients need, or None if they are not installed.
PROGRAM_PATHS = {
    "curl": CURL,
    "node": shutil.which("node"),
    "java": shutil.which("java"),
    "chromium": CHROMIUM,
}
_PROGRAMS = PROJECT_ROOT / "tests" / "clients" / "documents"
_JAVASCRIPT = _PROGRAMS / "document_life.js"
_JAVA = _PROGRAMS / "DocumentLife.java"


async def run_client(client_name: str, plan: Plan, page_origin: str, profile: Path) -> Json:
    """Run a plan with a client, and return the results.

    A browser uses a page of `page_origin`, and keeps its data in the directory `profile`.
    """
    if client_name in PYTHON_CLIENTS:
        return await asyncio.to_thread(_run_python_client, PYTHON_CLIENTS[client_name], plan)
    if client_name == "java":
        return await _run_program("java", _JAVA, input="\t".join(_list_fields(plan)))
    plan_json = json.dumps(asdict(plan))
    if client_name == "node":
        return await _run_program("node", _JAVASCRIPT, plan_json)
    async with open_page(page_origin, profile) as page:
        script = f"{_JAVASCRIPT.read_text()}; runDocumentLife({plan_json}, false)"
        results: Json = await page.evaluate(script)
    return results


def _run_python_client(client_class: type[DocumentClient], plan: Plan) -> Json:
    with closing(client_class()) as client:
        return DocumentLife(client, plan).run()


async def _run_program(*command: str | Path, input: str = "") -> Json:
    """Run a client program, and return the results that it prints."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    output, _ = await process.communicate(input.encode())
    assert process.returncode == 0
    results: Json = json.loads(output)
    return results


def _list_fields(plan: Plan) -> list[str]:
    """Return the fields of a plan as texts, because the program in Java cannot read JSON."""
    numbers = [plan.too_large, plan.with_unknown_field, len(plan.filenames)]
    sizes = [str(size) for size in plan.sizes]
    return [plan.api, plan.token, *map(str, numbers), *plan.filenames, *sizes]
