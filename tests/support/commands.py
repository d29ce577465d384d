"""Commands as a person gives them, but in the process of the tests: to start one takes a second.

Those that are stopped, serve or use a terminal or a pipe are in `processes`.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from typer.testing import CliRunner, Result

from app import embedded
from app.cli import cli
from app.settings import Settings
from tests.support.processes import Said


async def said(*command: str, given: bytes = b"", **environment: str) -> Said:
    """How a command over the suite's store ended, with something on its standard input."""
    answer = await _invoked(command, environment, given)
    return Said(answer.exit_code, answer.stdout_bytes.decode(), answer.stderr_bytes.decode())


async def run(*command: str, **environment: str) -> tuple[int, str]:
    """The exit code and everything that was printed."""
    answer = await _invoked(command, environment)
    return answer.exit_code, answer.output_bytes.decode()


async def _invoked(
    command: tuple[str, ...], environment: dict[str, str], given: bytes = b""
) -> Result:
    store = {"S3_ENDPOINT_URL": os.environ["TEST_S3_ENDPOINT_URL"], "S3_BUCKET": embedded.BUCKET}
    unset = dict.fromkeys(
        map(str.upper, Settings.model_fields.keys() - {"http_fast_path", "db_fast_path"})
    )
    with patch.dict(Settings.model_config, env_file=None), _logging_kept():
        # In a thread: a command has an event loop of its own.
        return await asyncio.to_thread(
            CliRunner().invoke,
            cli,
            command,
            input=given,
            env={**unset, **store, **environment},
            catch_exceptions=False,
            prog_name="bookshelf",
        )


@contextmanager
def _logging_kept() -> Iterator[None]:
    """What a command changes about the logging of its process is as it was, when the block ends."""
    root = logging.getLogger()
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    levels = [(each, each.level) for each in (root, *named)]
    handlers, root.handlers, source = root.handlers, [], logging._srcfile
    try:
        yield
    finally:
        root.handlers, logging._srcfile = handlers, source
        for each, level in levels:
            each.setLevel(level)
