"""Restarts the server when its code or `.env` changes (`serve --reload`), with uvicorn's reloader.

The process of the reloader holds the listening socket, so that clients wait during a restart and
do not get an error. It also uses the embedded servers, so that they continue to run.
"""

import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.supervisors.watchfilesreload import WatchFilesReload
from watchfiles import watch

_PROJECT_DIRECTORY: Final = Path(__file__).parents[2]
WATCHED_DIRECTORIES: Final = (_PROJECT_DIRECTORY / "app", _PROJECT_DIRECTORY / "migrations")
SETTINGS_FILE: Final = Path(".env")
# A process that does not end in this time, because of a request in progress, is killed.
STOP_TIMEOUT_SECONDS: Final = 1.0
POLL_INTERVAL_MILLISECONDS: Final = 300
log = logging.getLogger(__name__)

# A function that serves requests on sockets until the process receives a stop signal. It is
# pickled, so it has to be importable.
ProcessTarget = Callable[[list[socket.socket] | None], None]


class Reloader(WatchFilesReload):
    """Runs a server process, and replaces it when a file has changed.

    It differs from uvicorn's class:

    - It also watches `.env`.
    - It reports a process that has ended, for example because of a syntax error. The next change
      starts another one.
    - It does not wait for requests in progress, such as streams, before it restarts the server.
    """

    def __init__(
        self,
        listener: socket.socket,
        start_target: ProcessTarget,
        restart_target: ProcessTarget,
        directories: Sequence[Path] = WATCHED_DIRECTORIES,
    ) -> None:
        """Create a reloader. `run` runs it until this process receives a stop signal.

        Args:
            listener: The socket on which all processes accept connections, one after the other.
            start_target: The function that the first process runs.
            restart_target: The function that later processes run.
            directories: The directories with the code.
        """
        config = uvicorn.Config(
            "app.main:app",
            reload=True,
            reload_dirs=[str(directory) for directory in directories],
            reload_includes=["*.sql"],
            # uvicorn would wait before it begins to watch, and miss the changes until then.
            reload_delay=0,
            log_config=None,
        )
        super().__init__(config, start_target, [listener])
        self._restart_target = restart_target
        self._settings_time = _get_modification_time()
        self._exit_is_reported = False
        # uvicorn's watcher returns only every five seconds if nothing changes.
        self.watcher = watch(
            *self.reload_dirs,
            watch_filter=None,
            stop_event=self.should_exit,
            yield_on_timeout=True,
            rust_timeout=POLL_INTERVAL_MILLISECONDS,
        )

    def should_restart(self) -> list[Path] | None:
        """Wait for a moment. Return the files that have changed meanwhile."""
        changed_files = super().should_restart() or []
        settings_time = _get_modification_time()
        if settings_time != self._settings_time:
            self._settings_time = settings_time
            changed_files.append(SETTINGS_FILE.absolute())
        if not changed_files and not self._exit_is_reported and not self.process.is_alive():
            self._exit_is_reported = True
            log.error("the server has ended, and starts again when a file changes")
        return changed_files

    def restart(self) -> None:
        """Replace the server process."""
        # Unlike SIGTERM, this signal does not mean that a load balancer has to notice the end.
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)
        self.process.join(STOP_TIMEOUT_SECONDS)
        self.process.kill()
        self.target = self._restart_target
        self._exit_is_reported = False
        super().restart()


def _get_modification_time() -> float | None:
    """Return when `.env` was last changed, or None if it does not exist."""
    try:
        return SETTINGS_FILE.stat().st_mtime
    except FileNotFoundError:
        return None
