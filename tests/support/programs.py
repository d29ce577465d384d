"""Client programs that may be installed on the machine, and how to run them."""

import asyncio
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

# The path of each program, or None if it is not installed.
CURL = shutil.which("curl")
JAVA = shutil.which("java")
NODE = shutil.which("node")
WGET = shutil.which("wget")
# Java compiles a source file before it runs it. One compiler and the garbage collector with one
# thread save half of the CPU time of a program that runs for a short time.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


async def run_program(*command: str | Path, input: str = "", directory: Path | None = None) -> str:
    """Run a program with a standard input, and return its output. Fails if the program fails."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=directory)
    output, _ = await process.communicate(input.encode())
    assert process.returncode == 0
    return output.decode()
