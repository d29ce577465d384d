"""Invoke commands of the command line in the test process, because a new process takes a second.

Commands that are stopped by a signal, run a server or use a terminal or a pipe need a process: see
`tests.support.processes`.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

from alembic.config import main as alembic_main
from typer.testing import CliRunner, Result

from app import embedded
from app.cli import cli
from app.settings import Settings
from tests.support.processes import PROJECT_ROOT, CommandResult

# Settings that a command takes from the environment of the tests.
_INHERITED_SETTINGS = {"http_fast_path", "db_fast_path"}


async def invoke_command(*command: str, input: bytes = b"", **environment: str) -> CommandResult:
    """Invoke a command with `input` as its standard input.

    The other keyword arguments are environment variables. The command uses the object store of the
    tests.
    """
    result = await _invoke(command, environment, input)
    return CommandResult(
        result.exit_code, result.stdout_bytes.decode(), result.stderr_bytes.decode()
    )


async def exit_code_and_output(*command: str, **environment: str) -> tuple[int, str]:
    """Invoke a command. Return its exit code, and its output and errors as one text.

    The keyword arguments are environment variables.
    """
    result = await _invoke(command, environment)
    return result.exit_code, result.output_bytes.decode()


async def invoke_alembic(*words: str, **environment: str) -> tuple[int | str | None, str]:
    """Invoke `alembic` without the command line of the service.

    Returns its exit code, and its output and errors as one text. The keyword arguments are
    environment variables.
    """
    arguments = ["-c", str(PROJECT_ROOT / "alembic.ini"), *words]
    output = StringIO()
    with (
        patch.dict(os.environ, {"DATABASE_URL": "", **environment}),
        patch.dict(Settings.model_config, env_file=None),
        redirect_stdout(output),
        redirect_stderr(output),
    ):
        try:
            # Like a command of the service, it starts an event loop.
            await asyncio.to_thread(alembic_main, arguments)
        except SystemExit as exception:
            return exception.code, output.getvalue()
    return 0, output.getvalue()


async def _invoke(
    command: tuple[str, ...], environment: dict[str, str], stdin: bytes = b""
) -> Result:
    """Invoke a command with the settings in `environment` and the object store of the tests."""
    # CliRunner removes a variable whose value is None.
    variables: dict[str, str | None] = dict.fromkeys(
        name.upper() for name in Settings.model_fields.keys() - _INHERITED_SETTINGS
    )
    variables["S3_ENDPOINT_URL"] = os.environ["TEST_S3_ENDPOINT_URL"]
    variables["S3_BUCKET"] = embedded.BUCKET
    variables.update(environment)
    with patch.dict(Settings.model_config, env_file=None), _restored_logging():
        # A command starts an event loop, so it cannot run in the thread of the test's loop.
        return await asyncio.to_thread(
            CliRunner().invoke,
            cli,
            command,
            input=stdin,
            env=variables,
            catch_exceptions=False,
            prog_name="bookshelf",
        )


@contextmanager
def _restored_logging() -> Iterator[None]:
    """Undo what a command changes in the logging configuration of the process."""
    root = logging.getLogger()
    levels = {root: root.level}
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            levels[logger] = logger.level
    root_handlers = root.handlers
    source_file = logging._srcfile
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = root_handlers
        logging._srcfile = source_file
        for logger, level in levels.items():
            logger.setLevel(level)
