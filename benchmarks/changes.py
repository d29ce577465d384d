"""What a change costs three requests, compared with another checkout and without each fast path.

python -m benchmarks.changes [--before CHECKOUT]: `GET /books/{id}`, `GET /authors` and
`POST /authors`, all servers by turns over the same database, on one core each.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import bench
from benchmarks.dataset import Dataset
from benchmarks.servers import BOOKSHELF_MODULE, Server
from benchmarks.trials import LoadGenerator, measure_in_turns
from benchmarks.wire import encode_request

BASELINE: Final = "this checkout"
# Variants of this checkout, and the environment that makes them.
SWITCHES: Final = {
    BASELINE: {},
    "HTTP_FAST_PATH=false": {"HTTP_FAST_PATH": "false"},
    "DB_FAST_PATH=false": {"DB_FAST_PATH": "false"},
    "both false": {"HTTP_FAST_PATH": "false", "DB_FAST_PATH": "false"},
}


def main() -> None:
    """Measure, and print one table for each request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--before", type=Path, help="another checkout, which is the base of 1.00")
    options = parser.parse_args()
    variants = dict(SWITCHES)
    if options.before:
        variants = {"before": {"PYTHONPATH": str(options.before.resolve())}, **variants}
    with bench.open_bench() as opened:
        servers = {
            variant: opened.serve(variant, BOOKSHELF_MODULE, **environment)
            for variant, environment in variants.items()
        }
        for operation, requests in _operations(opened.data).items():
            _compare(opened.generate, operation, servers, requests, options.rounds, options.seconds)


def _operations(data: Dataset) -> dict[str, list[bytes]]:
    author = json.dumps({"name": "Ursula K. Le Guin", "dob": "1929-10-21"}).encode()
    return {
        "GET /books/{id}": [encode_request(f"GET /books/{book}") for book in data.book_ids],
        "GET /authors": [encode_request("GET /authors")],
        "POST /authors": [encode_request("POST /authors", author)],
    }


def _compare(
    generate: LoadGenerator,
    operation: str,
    servers: dict[str, Server],
    requests: list[bytes],
    rounds: int,
    seconds: float,
) -> None:
    """Measure one request, and print its table. The first server is the base of the ratios."""
    variants = {variant: (server, requests) for variant, server in servers.items()}
    measured = measure_in_turns(generate, variants, rounds, seconds)
    print(f"| `{operation}` | requests/s | ratio | CPU per request | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    base_rate = base_cpu = 0.0
    for variant, rounds_of_variant in measured.items():
        rate = median(rate for rate, _ in rounds_of_variant)
        cpu = median(cpu for _, cpu in rounds_of_variant)
        base_rate = base_rate or rate
        base_cpu = base_cpu or cpu
        print(
            f"| {variant} | {rate:.0f} | {rate / base_rate:.2f} "
            f"| {cpu:.0f} us | {cpu / base_cpu:.2f} |"
        )
    print()


if __name__ == "__main__":
    main()
