"""Measure uploads, and compare them with the approach of the tutorial.

The service, the tutorial (`UploadFile` and `upload_fileobj`, see tutorial_uploads.py) and
`upload_fileobj` from memory without a server are measured in turns, with the same Postgres and S3
server. The processes may use any core. Prints Markdown tables of medians, with the lowest and the
highest value in parentheses.

The temporary directory needs space for eleven files of 100 MiB and for twice the largest size. It
is deleted at the end.
"""

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import sleep
from typing import Final

import asyncpg

from app import embedded, schema
from benchmarks import dataset, load
from benchmarks.markdown import median_and_range, print_heading, print_row
from benchmarks.servers import Server
from benchmarks.transfers import MIB, SERVICE, UploadBench
from benchmarks.upload_durations import measure_durations
from benchmarks.upload_observers import probing, watching
from benchmarks.wire import encode_request

# The sizes in MiB of the files that are uploaded one at a time.
SIZES: Final = (1, 100, 1024)
# The number and the size in MiB of the files that are uploaded at the same time.
UPLOAD_COUNT: Final = 10
UPLOAD_SIZE: Final = 100
# The sizes in MiB with the option --quick.
QUICK_SIZES: Final = (1, 16)
QUICK_UPLOAD_SIZE: Final = 4
IDLE_SECONDS: Final = 3.0
SIGNED_URLS: Final = 100
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


def measure_footprints(bench: UploadBench, uploads: Sequence[tuple[int, int]]) -> None:
    """Print the memory and disk usage of uploads to a service that has just been started.

    Each of `uploads` is a size in MiB, and how many files of this size are uploaded at a time.
    """
    print_heading("MiB", "idle RSS", "peak RSS", "peak PSS", "written to disk", "temporary files")
    for size, count in uploads:
        for name in bench.service_names:
            with (
                bench.server(name) as server,
                watching(server, bench.temporary_directory(name)) as footprint,
            ):
                bench.upload(server, size, count)
            sizes = (footprint.idle, footprint.peak, footprint.pss, footprint.written)
            cells = [f"{size_in_bytes / MIB:.0f}" for size_in_bytes in sizes]
            print_row(f"{name}, {count} of {size} MiB", *cells, str(footprint.files))
            bench.empty()


def measure_latencies(bench: UploadBench, rounds: int, path: str) -> None:
    """Print the latency of other requests, while a service is idle and during uploads."""
    latencies: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with ExitStack() as stack:
        servers = [stack.enter_context(bench.server(name)) for name in bench.service_names]
        for _ in range(rounds):
            for server in servers:
                idle = f"{server.name}, idle"
                busy = f"{server.name}, {UPLOAD_COUNT} of {UPLOAD_SIZE} MiB"
                latencies[idle].append(_measure_latency(bench, server, path, 0))
                latencies[busy].append(_measure_latency(bench, server, path, UPLOAD_COUNT))
                bench.empty()
    print_heading("a request every 10 ms", "p50, ms", "p99, ms", "duration of the uploads, s")
    for label, rows in latencies.items():
        print_row(label, *(median_and_range(values) for values in zip(*rows, strict=True)))


def _measure_latency(
    bench: UploadBench, server: Server, path: str, upload_count: int
) -> tuple[float, float, float]:
    """Return the median and 99th percentile of the latency of a path, and the duration.

    The latencies are in milliseconds, the duration of the uploads is in seconds. Without uploads
    the path is measured for IDLE_SECONDS.
    """
    seconds = IDLE_SECONDS
    with probing(server, path) as latencies:
        if upload_count > 0:
            seconds = bench.upload(server, UPLOAD_SIZE, upload_count)
        else:
            sleep(seconds)
    latencies.sort()
    return median(latencies), latencies[int(len(latencies) * 0.99)], seconds


def measure_signing(bench: UploadBench, rounds: int) -> None:
    """Print what 100 signed URLs cost a page of documents."""
    asyncio.run(_insert_documents(bench.database_url))
    sorts = {"with files": "name", "without": "-name"}
    rates: dict[str, list[float]] = {label: [] for label in sorts}
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    with pool, bench.server(SERVICE) as server:
        for _ in range(rounds):
            for label, sort in sorts.items():
                request = encode_request(
                    f"GET /documents?size={SIGNED_URLS}&count=none&sort={sort}"
                )
                _, page = server.send(request)
                urls = [document["file_url"] for document in page["items"]]
                if len(urls) != SIGNED_URLS or all(urls) != (label == "with files"):
                    raise RuntimeError(f"sort={sort} is not the page {label}")
                job = load.LoadJob(server.port, [request], 1, 2.0)
                rates[label].append(pool.submit(load.run_load, job).result().rate)
    print_heading("a page of 100 documents", "requests per second", "ms")
    for label, values in rates.items():
        print_row(label, median_and_range(values), f"{1e3 / median(values):.2f}")
    with_files, without = (1e6 / median(values) for values in rates.values())
    print(f"\nA signed URL costs {(with_files - without) / SIGNED_URLS:.0f} microseconds.")


async def _insert_documents(url: str) -> None:
    """Replace all documents with 100 that have a file and 100 that do not."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE documents, stored_objects")
    await connection.execute(INSERT_DOCUMENTS)
    await connection.close()


def main() -> None:
    """Start Postgres and the object store, measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="in MiB %(default)s")
    parser.add_argument("--before", type=Path, help="directory of another checkout to measure too")
    parser.add_argument(
        "--quick", action="store_true", help="only durations and memory, of smaller files"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        directory_name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bookshelf-up-"))
        directory = Path(directory_name)
        database = stack.enter_context(embedded.run_postgres(directory / "data"))
        store = stack.enter_context(embedded.run_s3_server(directory / "data"))
        schema.upgrade(dataset.sqlalchemy_url(database.url()))
        bench = UploadBench(directory, database.url(), store, options.before)
        if options.quick:
            measure_durations(bench, QUICK_SIZES, 1)
            measure_footprints(bench, [(max(QUICK_SIZES), 1), (QUICK_UPLOAD_SIZE, UPLOAD_COUNT)])
            return
        data = asyncio.run(dataset.load_dataset(database.url()))
        measure_durations(bench, options.sizes, options.rounds)
        uploads = [*((size, 1) for size in options.sizes), (UPLOAD_SIZE, UPLOAD_COUNT)]
        measure_footprints(bench, uploads)
        measure_latencies(bench, options.rounds, f"/books/{data.book_ids[0]}")
        measure_signing(bench, options.rounds)


if __name__ == "__main__":
    main()
