"""Runs the life of documents with a client program, or with a library of Python."""

import asyncio
import json
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
from tests.support.document_programs import CurlClient
from tests.support.factories import Json
from tests.support.processes import PROJECT_ROOT
from tests.support.programs import CURL, JAVA, JAVA_OPTIONS, NODE, run_program

PYTHON_CLIENTS: dict[str, type[DocumentClient]] = {
    "httpx": HttpxClient,
    "requests": RequestsClient,
    "aiohttp": AiohttpClient,
    "urllib": UrllibClient,
    "curl": CurlClient,
}
CLIENT_NAMES = (*PYTHON_CLIENTS, "node", "java", "chromium")
# The paths of the programs that clients need, or None if they are not installed.
PROGRAM_PATHS = {"curl": CURL, "node": NODE, "java": JAVA, "chromium": CHROMIUM}
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
        plan_fields = "\t".join(_list_fields(plan))
        return _parse(await run_program("java", *JAVA_OPTIONS, _JAVA, input=plan_fields))
    plan_json = json.dumps(asdict(plan))
    if client_name == "node":
        return _parse(await run_program("node", _JAVASCRIPT, plan_json))
    async with open_page(page_origin, profile) as page:
        script = f"{_JAVASCRIPT.read_text()}; runDocumentLife({plan_json}, false)"
        results: Json = await page.evaluate(script)
    return results


def _run_python_client(client_class: type[DocumentClient], plan: Plan) -> Json:
    with closing(client_class()) as client:
        return DocumentLife(client, plan).run()


def _parse(output: str) -> Json:
    """Parse the results that a program prints."""
    results: Json = json.loads(output)
    return results


def _list_fields(plan: Plan) -> list[str]:
    """Return the fields of a plan as texts, because the program in Java cannot read JSON."""
    numbers = [plan.too_large, plan.with_unknown_field, len(plan.filenames)]
    sizes = [str(size) for size in plan.sizes]
    return [plan.api, plan.token, *map(str, numbers), *plan.filenames, *sizes]
