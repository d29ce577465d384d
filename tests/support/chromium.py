"""Controls a headless Chromium through a pipe, with the DevTools protocol.

See https://chromedevtools.github.io/devtools-protocol/.
"""

import asyncio
import json
import os
import shutil
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.connections import tcp_server

TIMEOUT_SECONDS = 30.0
PROGRAM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# The path of the browser, or None if it is not installed.
CHROMIUM = next(filter(None, map(shutil.which, PROGRAM_NAMES)), None)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--window-size=1200,1600",
    "--remote-debugging-pipe",
)
# The HTTP response of a server with an empty page.
EMPTY_PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n"
    b"Connection: close\r\n\r\n<!doctype html>"
)
# A script that waits until an element matches a selector, scrolls to it, and returns the result of
# a function of the element. The first placeholder is the selector, the second the function.
WAIT_FOR_ELEMENT = """
new Promise(resolve => {
  const look = () => {
    const element = document.querySelector(%s)
    element ? resolve(element) : requestAnimationFrame(look)
  }
  look()
}).then(element => { element.scrollIntoView(); return (%s)(element) })
"""
_MAX_MESSAGE_SIZE = 64 * 1024 * 1024


@asynccontextmanager
async def serving_empty_page() -> AsyncIterator[str]:
    """Serve an empty page, from whose origin a script can send requests. Yield the origin."""

    async def send_page(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY_PAGE)
        await writer.drain()

    async with tcp_server(send_page) as address:
        yield f"http://{address}"


class Page:
    """A page of the browser. Methods with a CSS selector wait until an element matches it."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._message_ids = count(1)
        # `{"sessionId": "..."}` when the page is open.
        self._session: dict[str, str] = {}

    async def open(self, url: str) -> None:
        """Create a tab and load a URL in it."""
        target = await self._call("Target.createTarget", url="about:blank")
        self._session = await self._call("Target.attachToTarget", flatten=True, **target)
        await self._call("Page.navigate", url=url)

    async def click(self, selector: str) -> None:
        await self._call_with_element(selector, "element => element.click()")

    async def type(self, selector: str, text: str) -> None:
        """Type text into an input element. It replaces the previous text."""
        await self._call_with_element(selector, "element => element.select()")
        await self._call("Input.insertText", text=text)

    async def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input element, as a person does in the dialog of the browser."""
        await self._call_with_element(selector, "element => element.id")
        document = await self._call("DOM.getDocument")
        root_id = document["root"]["nodeId"]
        node = await self._call("DOM.querySelector", nodeId=root_id, selector=selector)
        await self._call("DOM.setFileInputFiles", files=[str(path)], **node)

    async def text(self, selector: str) -> str:
        """Return the text that an element shows."""
        text: str = await self._call_with_element(selector, "element => element.innerText")
        return text

    async def evaluate(self, script: str) -> Any:
        """Run a script in the page, and return its value or the value of the promise it returns."""
        response = await self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in response, response
        return response["result"].get("value")

    async def close(self) -> None:
        """Close the browser."""
        self._session = {}
        await self._call("Browser.close")

    async def _call_with_element(self, selector: str, function: str) -> Any:
        """Call a JavaScript function with the element that matches a selector."""
        return await self.evaluate(WAIT_FOR_ELEMENT % (json.dumps(selector), function))

    async def _call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol and return its result.

        Messages are JSON objects, each followed by a zero byte. Events, which the browser sends
        without a request, are ignored.
        """
        message_id = next(self._message_ids)
        request = {"id": message_id, "method": method, "params": parameters, **self._session}
        self._writer.write(json.dumps(request).encode() + b"\0")
        response: dict[str, Any] = {}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while response.get("id") != message_id:
                message = await self._reader.readuntil(b"\0")
                response = json.loads(message.removesuffix(b"\0"))
        assert "error" not in response, response
        return response["result"]


@asynccontextmanager
async def open_page(url: str, profile: Path, *options: str) -> AsyncIterator[Page]:
    """Start a browser whose profile is in a directory, open a URL, and yield the page.

    `options` are further options of the browser, for example `"--mute-audio"`.
    """
    assert CHROMIUM
    browser_input, our_output = os.pipe()
    our_input, browser_output = os.pipe()
    # Chromium reads messages from file descriptor 3 and writes them to 4.
    redirect = f'exec "$@" 3<&{browser_input} 4>&{browser_output}'
    arguments = (*OPTIONS, *options, f"--user-data-dir={profile}", "about:blank")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", redirect, "browser", CHROMIUM, *arguments),
        pass_fds=(browser_input, browser_output),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    os.close(browser_input)
    os.close(browser_output)
    reader, writer = await _open_pipe_streams(our_input, our_output)
    try:
        page = Page(reader, writer)
        await page.open(url)
        yield page
        await page.close()
    finally:
        writer.close()
        if process.returncode is None:
            await _wait_or_kill(process)


async def _wait_or_kill(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a process, and kill it when the timeout is over."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _open_pipe_streams(
    input_descriptor: int, output_descriptor: int
) -> tuple[StreamReader, StreamWriter]:
    """Return streams that read from one pipe and write to another."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit=_MAX_MESSAGE_SIZE)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(input_descriptor, "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(output_descriptor, "wb", 0)
    )
    return reader, StreamWriter(transport, protocol, None, loop)
