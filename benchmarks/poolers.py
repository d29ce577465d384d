"""Measure the service behind PgBouncer, compared with a direct connection to Postgres.

    python -m benchmarks.poolers [--rounds 7] [--seconds 2]

One server for each value of DB_POOLER gets the same requests, in turns. PgBouncer uses the same
core as Postgres. It needs a PgBouncer that keeps prepared statements (version 1.21 or newer).
"""

import argparse
import json
from collections.abc import Mapping
from statistics import median
from typing import Final

from benchmarks import bench
from benchmarks.cores import pinned
from benchmarks.dataset import Dataset
from benchmarks.servers import SERVICE_MODULE
from benchmarks.trials import measure_in_rounds
from benchmarks.wire import encode_request
from tests.support.pgbouncer import running_pgbouncer

POOLERS: Final = ("none", "transaction", "transaction-prepared")
# As many connections as the service opens. Tests use fewer, and alternate between them.
PGBOUNCER_SETTINGS: Final = {"default_pool_size": "20", "server_round_robin": "0"}


def main() -> None:
    """Run the measurements, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poolers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per round (%(default)s)")
    options = parser.parse_args()
    with (
        bench.open_bench() as opened_bench,
        pinned(opened_bench.layout.database),
        running_pgbouncer(opened_bench.url, **PGBOUNCER_SETTINGS) as pgbouncer,
    ):
        servers = {}
        for pooler in POOLERS:
            url = opened_bench.url
            if pooler != "none":
                url = pgbouncer.url(url)
            servers[pooler] = opened_bench.serve(
                pooler, SERVICE_MODULE, DATABASE_URL=url, DB_POOLER=pooler
            )
        print("| operation | DB_POOLER | requests/s | range | CPU per request | ratio |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
        for operation, requests in _create_requests(opened_bench.data).items():
            variants = {pooler: (server, requests) for pooler, server in servers.items()}
            measurements = measure_in_rounds(
                opened_bench.load_generator, variants, options.rounds, options.seconds
            )
            _print_rows(operation, measurements)


def _create_requests(data: Dataset) -> Mapping[str, list[bytes]]:
    """Return the requests for each operation: a read, a list, and two kinds of writes."""
    author_paths = [f"/authors/{author_id}" for author_id in data.author_ids]
    author = json.dumps({"name": "New author"}).encode()
    change = json.dumps({"dob": "1929-10-21"}).encode()
    return {
        "GET /books/{id}": [encode_request(f"GET /books/{book_id}") for book_id in data.book_ids],
        "GET /authors": [encode_request("GET /authors?size=20")],
        "POST /authors": [encode_request("POST /authors", author)],
        "PATCH /authors/{id}": [encode_request(f"PATCH {path}", change) for path in author_paths],
    }


def _print_rows(operation: str, measurements: Mapping[str, list[tuple[float, float]]]) -> None:
    """Print the rate and the CPU time with each pooler, and the ratio to a direct connection."""
    direct_rate = median(rate for rate, _ in measurements["none"])
    for pooler, rounds in measurements.items():
        rates, cpus = zip(*rounds, strict=True)
        print(
            f"| `{operation}` | `{pooler}` | {median(rates):.0f} "
            f"| {min(rates):.0f}-{max(rates):.0f} | {median(cpus):.0f} us "
            f"| {median(rates) / direct_rate:.2f} |"
        )


if __name__ == "__main__":
    main()
