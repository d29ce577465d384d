"""One server process, and what its store does: each call fails once in each way, and then not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import pytest
from httpx import AsyncClient, Response

from app.core.errors import Unavailable
from app.documents.upload import PART_SIZE
from tests.faults.service import AT_ONCE, REQUEST_TIMEOUT, Service, served
from tests.support import servers
from tests.support.factories import make_author, make_direct_upload, make_document
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, poll_until
from tests.support.store_proxy import ProxyAction, StoreProxy, running_store_proxy

PREFIX = "faults/store/"
SMALL, LARGE = b"%PDF-1.7 in one go", bytes(PART_SIZE + 1)

Ask = Callable[[], Awaitable[Response]]
Prepare = Callable[[AsyncClient], Awaitable[Ask]]


@pytest.fixture(scope="module")
async def database_url(template_url: str) -> AsyncIterator[str]:
    made = await servers.copy_database(template_url, "store")
    yield made
    await servers.drop_database(made)


@pytest.fixture(scope="module")
async def proxy() -> AsyncIterator[StoreProxy]:
    async with running_store_proxy() as made:
        yield made


@pytest.fixture(scope="module")
async def service(database_url: str, proxy: StoreProxy) -> AsyncIterator[Service]:
    async with served(database_url, prefix=PREFIX, S3_ENDPOINT_URL=proxy.origin) as made:
        yield made


def uploads(content: bytes, **more: str) -> Prepare:
    async def prepared(client: AsyncClient) -> Ask:
        fields = {"file": ("a.pdf", content), **{name: (None, v) for name, v in more.items()}}
        return lambda: client.post("/documents", files=fields)  # type: ignore[arg-type]

    return prepared


async def deletes(client: AsyncClient) -> Ask:
    path = f"/documents/{(await make_document(client, content=SMALL))['id']}"
    return lambda: client.delete(path)


async def starts(client: AsyncClient) -> Ask:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    announced = {"filename": "a.pdf", "content_type": "application/pdf", "size": 1}
    return lambda: client.post(path, json=announced)


async def completes(client: AsyncClient) -> Ask:
    path = f"/documents/{(await make_document(client))['id']}"
    upload = await make_direct_upload(client, path, SMALL)
    return lambda: client.post(f"{upload}/complete")


# The call of the store that fails, who makes it, the answer then, and that to the same afterwards.
CALLS: dict[str, tuple[str, Prepare, int, int]] = {
    "put": ("PUT", uploads(SMALL, name="x"), 503, 201),
    "start": ("POST .*[?]uploads", uploads(LARGE, name="x"), 503, 201),
    "the first part": ("partNumber=1", uploads(LARGE, name="x"), 503, 201),
    "the last part": ("partNumber=2", uploads(LARGE, name="x"), 503, 201),
    "complete": ("POST .*[?]uploadId", uploads(LARGE, name="x"), 503, 201),
    "abort": ("DELETE .*[?]uploadId", uploads(LARGE, nome="x"), 422, 422),
    "delete": ("DELETE", deletes, 204, 404),
    "start of a direct upload": ("POST .*[?]uploads", starts, 503, 201),
    "list of its parts": ("GET .*uploadId", completes, 503, 200),
    "complete of a direct upload": ("POST .*[?]uploadId", completes, 503, 200),
    "head": ("HEAD", completes, 503, 200),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_fails(call: str, service: Service, proxy: StoreProxy) -> None:
    line, prepare, failing, succeeding = CALLS[call]
    ask = await prepare(service.client)
    proxy.set_action(ProxyAction.RESET, line)
    answer = await ask()
    assert answer.status_code == failing, answer.text
    if failing == 503:
        check_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await proxy.action_reached.wait()
    proxy.set_action(ProxyAction.PASS)
    assert (await ask()).status_code == succeeding
    await service.is_well()


# Of those that are held together none waits for another, and nothing is cleaned up by another.
HELD = {
    "put and part": (r"PUT [^?]*$|partNumber=2", ["put", "the last part"]),
    "complete": ("POST .*[?]uploadId", ["complete", "complete of a direct upload"]),
    "head and delete": ("HEAD|DELETE", ["head", "delete"]),
}


@pytest.mark.parametrize("calls", HELD)
async def test_calls_are_done_only_when_nobody_waits_for_them_any_more(
    calls: str, service: Service, proxy: StoreProxy
) -> None:
    line, names = HELD[calls]
    prepared = [await CALLS[name][1](service.client) for name in names]
    proxy.set_action(ProxyAction.HOLD, line)
    start = monotonic()
    answers = await asyncio.gather(*(ask() for ask in prepared))
    assert [answer.status_code for answer in answers] == [CALLS[name][2] for name in names]
    assert monotonic() - start < REQUEST_TIMEOUT + AT_ONCE
    assert len(proxy.request_lines) >= len(names)
    await service.comes_to_rest()
    proxy.release.set()
    proxy.set_action(ProxyAction.PASS)
    await service.is_well()


async def test_the_store_is_down(service: Service, proxy: StoreProxy) -> None:
    client = service.client
    document = await make_document(client, content=SMALL)
    proxy.set_action(ProxyAction.RESET)
    assert check_problem(await client.get("/readyz"), 503, "unavailable")["detail"].startswith(
        "stor"
    )
    answers = await asyncio.gather(
        *(client.post("/documents", files={"file": SMALL}, data={"name": "x"}) for _ in range(4))
    )
    for answer in answers:
        check_problem(answer, 503, "unavailable")
    assert (await client.get(f"/documents/{document['id']}")).status_code == 200
    await make_author(client)
    proxy.set_action(ProxyAction.PASS)
    await service.is_well()


async def test_the_store_is_slow(service: Service, proxy: StoreProxy) -> None:
    client = service.client
    proxy.set_action(ProxyAction.HOLD, "PUT")
    slow = [asyncio.create_task(make_document(client, content=SMALL)) for _ in range(6)]

    async def all_wait() -> bool:
        return sum(line.startswith("PUT") for line in proxy.request_lines) == len(slow)

    await poll_until(all_wait)
    await make_author(client)
    for path in ("/readyz", "/documents", "/books"):
        assert (await client.get(path)).status_code == 200
    assert not any(task.done() for task in slow)
    proxy.release.set()
    await asyncio.gather(*slow)
    proxy.set_action(ProxyAction.PASS)
    await service.is_well()


@pytest.mark.parametrize("line", ["[?&]uploads", "list-type"])
async def test_a_list_fails_and_with_it_the_sweeper(
    line: str, service: Service, proxy: StoreProxy
) -> None:
    ask = await deletes(service.client)
    proxy.set_action(ProxyAction.RESET, f"DELETE|{line}")
    assert (await ask()).status_code == 204
    with pytest.raises(Unavailable):
        await service.sweep(s3_endpoint_url=proxy.origin)
    proxy.set_action(ProxyAction.PASS)
    await service.is_well()
