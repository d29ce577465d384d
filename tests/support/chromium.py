"""A real browser without a window: Chromium, spoken to through a pipe in its own protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import json
import os
import shutil
from asyncio.subprocess import DEVNULL
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 30.0  # seconds until a test has failed
PROGRAM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAM_NAMES)), None)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--window-size=1200,1600", "--remote-debugging-pipe"),
)
# What a selector finds, as soon as there is something, and it is to be seen.
WAIT_FOR_ELEMENT = """
new Promise(resolve => {
  const look = () => {
    const found = document.querySelector(%s)
    found ? resolve(found) : requestAnimationFrame(look)
  }
  look()
}).then(found => { found.scrollIntoView(); return (%s)(found) })
"""


class Page:
    """One page of a browser, by CSS selectors. Everything waits for what it is about."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._numbers = reader, writer, count(1)
        self._session: dict[str, str] = {}

    async def opened(self, url: str) -> "Page":
        target = await self._ask("Target.createTarget", url="about:blank")
        attached = await self._ask("Target.attachToTarget", flatten=True, **target)
        self._session = attached
        await self._ask("Page.navigate", url=url)
        return self

    async def click(self, selector: str) -> None:
        await self._with(selector, "found => found.click()")

    async def type(self, selector: str, text: str) -> None:
        await self._with(selector, "found => found.focus()")
        await self._ask("Input.insertText", text=text)

    async def text(self, selector: str) -> str:
        found: str = await self._with(selector, "found => found.innerText")
        return found

    async def evaluate(self, script: str) -> Any:
        answer = await self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def picture(self, path: Path) -> None:
        """For people, when a test has failed."""
        path.write_bytes(b64decode((await self._ask("Page.captureScreenshot"))["data"]))

    async def close(self) -> None:
        self._session = {}
        await self._ask("Browser.close")

    async def _with(self, selector: str, function: str) -> Any:
        return await self.evaluate(WAIT_FOR_ELEMENT % (json.dumps(selector), function))

    async def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._writer.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (answer := json.loads((await self._reader.readuntil(b"\0"))[:-1])) is not None:
                if answer.get("id") == number:
                    break
        assert "error" not in answer, answer
        return answer["result"]


@asynccontextmanager
async def open_page(url: str, profile: Path) -> AsyncIterator[Page]:
    """A page of a new browser that keeps what it keeps in `profile`."""
    assert CHROMIUM
    (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
    shell = f'exec "$@" 3<&{its_in} 4>&{its_out}'
    options = (*OPTIONS, f"--user-data-dir={profile}", "about:blank")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", shell, "browser", CHROMIUM, *options),
        pass_fds=(its_in, its_out),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    os.close(its_in)
    os.close(its_out)
    reader, writer = await _open_pipe_streams(our_in, our_out)
    try:
        page = await Page(reader, writer).opened(url)
        yield page
        await page.close()
    finally:
        writer.close()
        if process.returncode is None:
            await _wait_or_kill(process)


async def _wait_or_kill(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _open_pipe_streams(
    readable: int, writable: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(writable, "wb", 0)
    )
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)
