"""Runs the drill: `python -m drills`."""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from drills.plain import run_plain_drill

TIMEOUT_SECONDS: Final = 150.0


def main() -> int:
    """Run a drill. Return 1 if a requirement is not met."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bookshelf-drill-") as name:
        directory = Path(name).resolve()
        # Postgres may run as another user, who must be able to enter the directory.
        directory.chmod(0o755)
        try:
            failures = asyncio.run(_run(directory))
        except KeyboardInterrupt:
            print("interrupted")
            return 130
    if failures:
        print(f"{len(failures)} requirements are not met")
        return 1
    print("all requirements are met")
    return 0


async def _run(directory: Path) -> list[str]:
    """Run the drill, and stop it after `TIMEOUT_SECONDS` or at a SIGTERM."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await run_plain_drill(directory)


if __name__ == "__main__":
    sys.exit(main())
