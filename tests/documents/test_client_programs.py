"""Real client programs go through the life of documents, with the store that TEST_STORE selects."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import pytest
from httpx import AsyncClient

from tests.support.client_programs import CLIENT_NAMES, PROGRAM_PATHS, run_client
from tests.support.document_life import FILENAMES, MIB, Plan, create_content
from tests.support.document_programs import WgetClient
from tests.support.document_servers import create_token, running_documents_server
from tests.support.documentation import read_code
from tests.support.factories import Json, make_document
from tests.support.processes import PROJECT_ROOT
from tests.support.programs import NODE, WGET, run_program
from tests.support.servers import STORE_NAME

pytestmark = pytest.mark.slow

API_PAGE = PROJECT_ROOT / "docs" / "api.md"
# These clients send the token to the store when they follow the redirect of `/content`.
CLIENTS_THAT_SEND_THE_TOKEN = {"urllib", "java"}
# The names that are not stored as they are sent. Folders are removed, and most clients encode
# quotes like browsers.
STORED_FILENAMES = {
    FILENAMES["quotes"]: "a %22quoted%22 name.pdf",
    FILENAMES["backslash"]: "slash.pdf",
    FILENAMES["path"]: "thesis.pdf",
}
TEXT_DIGEST = sha256(b"0123456789").hexdigest()


@pytest.fixture(scope="module")
async def plan(page_origin: str, template_url: str) -> AsyncIterator[Plan]:
    """The tasks of each client."""
    async with running_documents_server(page_origin, template_url) as origin:
        plan = Plan(origin, await create_token(origin))
        if STORE_NAME != "rclone":
            # Refusals do not depend on the store, and files with two parts are enough.
            plan = replace(plan, too_large=0, sizes=(0, 1, 8 * MIB + 1))
        yield plan


@pytest.fixture(scope="module", params=CLIENT_NAMES)
def client_name(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if PROGRAM_PATHS.get(name, name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture(scope="module")
async def results(
    client_name: str, plan: Plan, page_origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Json:
    """The responses that a client has received."""
    return await run_client(client_name, plan, page_origin, tmp_path_factory.mktemp("browser"))


def check_download(download: Json, filename: str, content_type: str, digest: str) -> None:
    """Check that a client has downloaded the content, with its name and media type."""
    assert (download["status"], download["sha256"]) == (200, digest)
    assert download["content_type"] == content_type
    # A page cannot read this header unless the store allows it.
    if download["disposition"] is not None:
        assert download["disposition"].startswith("attachment; filename=")
        encoded_filename = download["disposition"].rpartition("''")[2]
        assert unquote(encoded_filename) == filename


async def test_client_uploads_and_downloads_files_with_every_kind_of_name(
    results: Json, client_name: str
) -> None:
    for result in results["names"]:
        sent_filename = result["sent"]
        filename = STORED_FILENAMES.get(sent_filename, sent_filename)
        if client_name == "aiohttp" and sent_filename == FILENAMES["quotes"]:
            filename = sent_filename
        assert result["status"] == 201, result
        assert result["document"]["filename"] == filename
        digest = sha256(b"content").hexdigest()
        check_download(result["download"], filename, "application/pdf", digest)


async def test_client_uploads_and_downloads_files_of_every_size(results: Json, plan: Plan) -> None:
    for size, result in zip(plan.sizes, results["sizes"], strict=True):
        assert (result["status"], result["size"]) == (201, size)
        digest = sha256(create_content(size)).hexdigest()
        assert result["sha256"] == digest
        check_download(result["download"], "thesis.pdf", "application/pdf", digest)


async def test_client_replaces_reads_and_deletes_a_file(results: Json) -> None:
    change = results["change"]
    assert change["replaced"] == 200
    assert change["stale"] == [412, "precondition-failed"]
    # The browser has read a part of the file before it reads the whole file.
    assert change["range"] == "234"
    check_download(change["download"], "Åse.txt", "text/plain; charset=utf-8", TEXT_DIGEST)
    assert (change["deleted"], change["gone"]) == (204, 404)


async def test_client_follows_the_redirect_of_the_content(results: Json, client_name: str) -> None:
    redirected = results["change"]["redirected"]
    if client_name in CLIENTS_THAT_SEND_THE_TOKEN and STORE_NAME == "rclone":
        assert redirected["status"] == 400
    else:
        check_download(redirected, "Åse.txt", "text/plain; charset=utf-8", TEXT_DIGEST)


async def test_client_follows_the_redirect_of_head(results: Json, client_name: str) -> None:
    head = results["change"]["head"]
    if client_name in CLIENTS_THAT_SEND_THE_TOKEN and STORE_NAME == "rclone":
        assert head["status"] == 400
    elif client_name == "urllib":
        # Old versions send GET to the URL, which is signed for HEAD.
        assert head["status"] in {200, 403}
    else:
        assert head == {"status": 200, "size": "10"}


async def test_client_sends_a_file_directly_to_the_store(results: Json) -> None:
    direct = results["change"]["direct"]
    assert (direct["sent"], direct["completed"]) == (200, 200)
    digest = sha256(create_content(MIB)).hexdigest()
    check_download(direct["download"], "direct.bin", "application/x-thing", digest)


@pytest.mark.skipif(STORE_NAME != "rclone", reason="refusals do not depend on the store")
async def test_client_reads_why_its_file_is_refused(results: Json) -> None:
    refused: dict[str, Any] = results["refused"]
    expected = {
        "too large": [413, "payload-too-large"],
        "too large and streamed": [413, "payload-too-large"],
        "without a valid token": [401, "unauthorized"],
        "with an unknown field": [422, "invalid-request"],
    }
    # A browser cannot stream its request.
    assert refused.keys() >= expected.keys() - {"too large and streamed"}
    for case, problem in refused.items():
        assert problem == expected[case], case


# wget, which can only download, and the examples of the page for developers of clients


@pytest.mark.skipif(WGET is None, reason="wget is not installed")
async def test_wget_downloads_from_the_signed_url(plan: Plan) -> None:
    headers = {"Authorization": f"Bearer {plan.token}"}
    async with AsyncClient(base_url=plan.api, headers=headers, trust_env=False) as client:
        document = await make_document(client, content=b"content")
    wget = WgetClient()
    downloaded = await asyncio.to_thread(wget.send, "GET", document["file_url"], {}, None)
    assert (downloaded.status, downloaded.body) == (200, b"content")
    # wget sends the token to the target of the redirect.
    url = f"{plan.api}/documents/{document['id']}/content"
    redirected = await asyncio.to_thread(wget.send, "GET", url, headers, None)
    assert redirected.status == (400 if STORE_NAME == "rclone" else 200)


async def test_python_example_of_the_api_page_works(plan: Plan) -> None:
    variables = f"api, token = {plan.api!r}, {plan.token!r}\n"
    code = variables + read_code(API_PAGE, "Documents and files", "python")
    await run_program(sys.executable, "-c", code, directory=PROJECT_ROOT)


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
async def test_javascript_example_of_the_api_page_works(plan: Plan) -> None:
    variables = f"""
    const [api, token] = {json.dumps([plan.api, plan.token])}
    const file = new File(['content'], 'notes.txt', {{ type: 'text/plain' }})
    """
    check = "if (await content.text() !== 'content') throw new Error('another content')"
    code = variables + read_code(API_PAGE, "Documents and files", "javascript") + check
    await run_program("node", "--input-type=module", "--eval", code)
