"""Runs a drill: `python -m drills`, or `python -m drills --patroni`."""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from drills.patroni import run_patroni_drill
from drills.patroni_nodes import REQUIRED_PROGRAMS
from drills.plain import run_plain_drill
from drills.processes import find_program

TIMEOUT_SECONDS: Final = 240.0
# Runs all scenarios in a directory. Returns the requirements that are not met.
RunDrill = Callable[[Path], Coroutine[None, None, list[str]]]


def main() -> int:
    """Run a drill. Return 1 if a requirement is not met."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.add_argument("--patroni", action="store_true", help="let Patroni promote the standby")
    arguments = parser.parse_args()
    run_drill: RunDrill = run_plain_drill
    if arguments.patroni:
        missing_programs = [name for name in REQUIRED_PROGRAMS if find_program(name) is None]
        if missing_programs:
            print(f"not installed: {', '.join(missing_programs)}")
            return 1
        run_drill = run_patroni_drill
    with tempfile.TemporaryDirectory(prefix="bookshelf-drill-") as name:
        directory = Path(name).resolve()
        # Postgres may run as another user, who must be able to enter the directory.
        directory.chmod(0o755)
        try:
            failures = asyncio.run(_run(run_drill, directory))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("interrupted")
            return 130
    if failures:
        print(f"{len(failures)} requirements are not met")
        return 1
    print("all requirements are met")
    return 0


async def _run(run_drill: RunDrill, directory: Path) -> list[str]:
    """Run the drill, and stop it after `TIMEOUT_SECONDS` or at a SIGTERM."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await run_drill(directory)


if __name__ == "__main__":
    sys.exit(main())
