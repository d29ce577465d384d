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
from benchmarks.transfers import (
    BOOKSHELF,
    FROM_MEMORY,
    MIB,
    SERVICES,
    TUTORIAL,
    UploadBench,
    probing,
    watching,
)

UPLOAD_COUNT: Final = 10  # uploads at once
UPLOAD_SIZE: Final = 100  # MiB, of each of them
INSERT_DOCUMENTS: Final = """
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


def measure_durations(bench: UploadBench, sizes: Sequence[int], rounds: int) -> None:
    """How long one upload takes; the first of each is not counted."""
    _print_heading(
        "one upload, seconds",
        BOOKSHELF,
        TUTORIAL,
        "ratio",
        f"upload_fileobj {FROM_MEMORY}",
        "ratio",
    )
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
            cells = [_median_and_range(ours)]
            for other in others:
                cells += [_median_and_range(other), f"{median(other) / median(ours):.2f}"]
            _print_row(f"{size} MiB", *cells)


def measure_footprints(bench: UploadBench, largest: int) -> None:
    """Memory and disk of a service that has just been started."""
    _print_heading("MiB", "idle RSS", "peak RSS", "peak PSS", "written to disk", "temporary files")
    for size, count in ((largest, 1), (UPLOAD_SIZE, UPLOAD_COUNT)):
        for name in SERVICES:
            with bench.server(name) as server, watching(server, bench.scratch(name)) as found:
                bench.upload(server, size, count)
            sizes = (found.idle, found.peak, found.pss, found.written)
            numbers = (f"{number / MIB:.0f}" for number in sizes)
            _print_row(f"{name}, {count} of {size} MiB", *numbers, str(found.files))
            bench.empty()


def measure_latencies(bench: UploadBench, rounds: int, path: str) -> None:
    """How long others wait meanwhile."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(bench.server(name)) for name in SERVICES]
        for _ in range(rounds):
            for server in servers:
                idle, busy = (
                    f"{server.name}, idle",
                    f"{server.name}, {UPLOAD_COUNT} of {UPLOAD_SIZE} MiB",
                )
                found.setdefault(idle, []).append(_measure_latency(bench, server, path, 0))
                found.setdefault(busy, []).append(
                    _measure_latency(bench, server, path, UPLOAD_COUNT)
                )
                bench.empty()
    _print_heading("a request every 10 ms", "p50, ms", "p99, ms", "meanwhile, s")
    for label, rows in found.items():
        _print_row(label, *(_median_and_range(values) for values in zip(*rows, strict=True)))


def _measure_latency(
    bench: UploadBench, server: Server, path: str, count: int
) -> tuple[float, float, float]:
    seconds = 3.0
    with probing(server, path) as found:
        if count:
            seconds = bench.upload(server, UPLOAD_SIZE, count)
        else:
            sleep(seconds)
    ordered = sorted(found)
    return median(ordered), ordered[int(len(ordered) * 0.99)], seconds


def measure_signing(bench: UploadBench, rounds: int) -> None:
    """What 100 signed URLs cost a page."""
    asyncio.run(_insert_documents(bench.database_url))
    pages = {"with files": "name", "without": "-name"}
    rates: dict[str, list[float]] = {label: [] for label in pages}
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    with pool, bench.server(BOOKSHELF) as server:
        for _ in range(rounds):
            for label, sort in pages.items():
                line = f"GET /documents?size=100&count=none&sort={sort} HTTP/1.1"
                request = f"{line}\r\nHost: localhost\r\n\r\n".encode()
                urls = [item["file_url"] for item in server.send(request)[1]["items"]]
                if len(urls) != 100 or all(urls) != (label == "with files"):
                    raise RuntimeError(f"{line} is not the page {label}")
                job = load.LoadJob(server.port, [request], 1, 2.0)
                rates[label].append(pool.submit(load.run_load, job).result().rate)
    _print_heading("a page of 100 documents", "requests per second", "ms")
    for label, rate in rates.items():
        _print_row(label, _median_and_range(rate), f"{1e3 / median(rate):.2f}")
    with_files, without = (1e6 / median(rate) for rate in rates.values())
    print(f"\nA signed URL costs {(with_files - without) / 100:.0f} microseconds.")


async def _insert_documents(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE documents, stored_objects")
    await connection.execute(INSERT_DOCUMENTS)
    await connection.close()


def _print_heading(*cells: str) -> None:
    print()
    _print_row(*cells)
    _print_row("---", *["---:"] * (len(cells) - 1))


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _median_and_range(values: Sequence[float]) -> str:
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
        data = asyncio.run(dataset.load_dataset(database.url()))
        bench = UploadBench(directory, database.url(), store)
        measure_durations(bench, sizes, options.rounds)
        measure_footprints(bench, max(sizes))
        measure_latencies(bench, options.rounds, f"/books/{data.book_ids[0]}")
        measure_signing(bench, options.rounds)


if __name__ == "__main__":
    main()
