"""Uploads beside the obvious way: python -m benchmarks.uploads --rounds 5 --sizes 1,100,1024

The service, the tutorial's `UploadFile` and `upload_fileobj` (tutorial_uploads.py) and, without any
server between, `upload_fileobj` straight from memory: by turns, each in a process of its own on any
core, with the same embedded Postgres and S3 server. Prints Markdown tables of medians, with the
least and the most in parentheses. It needs room for ten files of 100 MiB and for twice the largest
size in the temporary directory, and leaves nothing there.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import sleep
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url

from app import embedded, schema
from benchmarks import dataset, load
from benchmarks.servers import Server
from benchmarks.transfers import MEMORY, MIB, OBVIOUS, OURSELVES, SERVICES, Bench, probed, watched

MANY: Final = 10  # uploads at once
SIZE: Final = 100  # MiB, of each of them
DOCUMENTS: Final = """
WITH files AS (
    INSERT INTO stored_objects (id, key)
    SELECT gen_random_uuid(), 'documents/' || gen_random_uuid() FROM generate_series(1, 100)
    RETURNING id
)
INSERT INTO documents (id, name, file_id, filename, content_type, size, sha256)
SELECT gen_random_uuid(), 'with ' || id, id, 'A report.pdf', 'application/pdf', 1, repeat('0', 64)
FROM files;
INSERT INTO documents (id, name)
SELECT gen_random_uuid(), 'without ' || gen_random_uuid() FROM generate_series(1, 100)
"""


def times(bench: Bench, sizes: Sequence[int], rounds: int) -> None:
    """How long one upload takes; the first of each is not counted."""
    _head("one upload, seconds", OURSELVES, OBVIOUS, "ratio", f"upload_fileobj {MEMORY}", "ratio")
    with ExitStack() as stack:
        servers = [stack.enter_context(bench.server(name)) for name in SERVICES]
        for size in sizes:
            runs: list[Callable[[], float]] = [
                *(partial(bench.upload, server, size) for server in servers),
                partial(bench.upload_from_memory, size),
            ]
            found: list[list[float]] = [[] for _ in runs]
            for _ in range(rounds + 1):
                for run, seconds in zip(runs, found, strict=True):
                    seconds.append(run())
                    bench.empty()
            ours, *others = (seconds[1:] for seconds in found)
            cells = [_range(ours)]
            for other in others:
                cells += [_range(other), f"{median(other) / median(ours):.2f}"]
            _row(f"{size} MiB", *cells)


def footprints(bench: Bench, largest: int) -> None:
    """Memory and disk of a service that has just been started."""
    _head("MiB", "idle RSS", "peak RSS", "peak PSS", "written to disk", "temporary files")
    for size, count in ((largest, 1), (SIZE, MANY)):
        for name in SERVICES:
            with bench.server(name) as server, watched(server, bench.scratch(name)) as found:
                bench.upload(server, size, count)
            sizes = (found.idle, found.peak, found.pss, found.written)
            numbers = (f"{number / MIB:.0f}" for number in sizes)
            _row(f"{name}, {count} of {size} MiB", *numbers, str(found.files))
            bench.empty()


def latencies(bench: Bench, rounds: int, path: str) -> None:
    """How long others wait meanwhile."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(bench.server(name)) for name in SERVICES]
        for _ in range(rounds):
            for server in servers:
                idle, busy = f"{server.name}, idle", f"{server.name}, {MANY} of {SIZE} MiB"
                found.setdefault(idle, []).append(_waits(bench, server, path, 0))
                found.setdefault(busy, []).append(_waits(bench, server, path, MANY))
                bench.empty()
    _head("a request every 10 ms", "p50, ms", "p99, ms", "meanwhile, s")
    for label, rows in found.items():
        _row(label, *(_range(values) for values in zip(*rows, strict=True)))


def _waits(bench: Bench, server: Server, path: str, count: int) -> tuple[float, float, float]:
    seconds = 3.0
    with probed(server, path) as found:
        if count:
            seconds = bench.upload(server, SIZE, count)
        else:
            sleep(seconds)
    ordered = sorted(found)
    return median(ordered), ordered[int(len(ordered) * 0.99)], seconds


def signing(bench: Bench, rounds: int) -> None:
    """What 100 signed URLs cost a page."""
    asyncio.run(_insert(bench.database_url))
    pages = {"with files": "name", "without": "-name"}
    rates: dict[str, list[float]] = {label: [] for label in pages}
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    with pool, bench.server(OURSELVES) as server:
        for _ in range(rounds):
            for label, sort in pages.items():
                line = f"GET /documents?size=100&count=none&sort={sort} HTTP/1.1"
                request = f"{line}\r\nHost: localhost\r\n\r\n".encode()
                urls = [item["file_url"] for item in server.ask(request)[1]["items"]]
                if len(urls) != 100 or all(urls) != (label == "with files"):
                    raise RuntimeError(f"{line} is not the page {label}")
                job = load.Job(server.port, [request], 1, 2.0)
                rates[label].append(pool.submit(load.run, job).result().rate)
    _head("a page of 100 documents", "requests per second", "ms")
    for label, rate in rates.items():
        _row(label, _range(rate), f"{1e3 / median(rate):.2f}")
    with_files, without = (1e6 / median(rate) for rate in rates.values())
    print(f"\nA signed URL costs {(with_files - without) / 100:.0f} microseconds.")


async def _insert(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE documents, stored_objects")
    await connection.execute(DOCUMENTS)
    await connection.close()


def _head(*cells: str) -> None:
    print()
    _row(*cells)
    _row("---", *["---:"] * (len(cells) - 1))


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    """Start everything, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--sizes", default="1,100,1024", help="MiB (%(default)s)")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bookshelf-up-")))
        database = stack.enter_context(embedded.run_postgres(directory / "data"))
        store = stack.enter_context(embedded.run_s3_server(directory / "data"))
        schema.upgrade(make_url(database.url()).set(drivername="postgresql+asyncpg"))
        data = asyncio.run(dataset.load(database.url()))
        bench = Bench(directory, database.url(), store)
        times(bench, sizes, options.rounds)
        footprints(bench, max(sizes))
        latencies(bench, options.rounds, f"/books/{data.books[0]}")
        signing(bench, options.rounds)


if __name__ == "__main__":
    main()
