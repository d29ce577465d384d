"""Measure how much each fast path saves, and optionally compare with another checkout.

The requests are `GET /books/{id}`, `GET /authors` and `POST /authors`. All servers use the same
database and are measured in turns, each on one core.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import bench
from benchmarks.dataset import Dataset
from benchmarks.servers import SERVICE_MODULE, Server, environment_of_checkout
from benchmarks.trials import LoadGenerator, measure_in_rounds
from benchmarks.wire import encode_request

BASELINE: Final = "this checkout"
# The environment variables of each variant of this checkout.
VARIANTS: Final = {
    BASELINE: {},
    "HTTP_FAST_PATH=false": {"HTTP_FAST_PATH": "false"},
    "DB_FAST_PATH=false": {"DB_FAST_PATH": "false"},
    "both false": {"HTTP_FAST_PATH": "false", "DB_FAST_PATH": "false"},
}


def main() -> None:
    """Run the measurements, and print one table for each request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per round (%(default)s)")
    parser.add_argument(
        "--before",
        type=Path,
        help="directory of another checkout, which becomes the base of the ratios",
    )
    parser.add_argument(
        "--revision",
        default="head",
        help="schema revision that both checkouts support, such as 0009 (%(default)s)",
    )
    options = parser.parse_args()
    variants = dict(VARIANTS)
    if options.before:
        variants = {"before": environment_of_checkout(options.before), **variants}
    with bench.open_bench(options.revision) as opened_bench:
        servers = {
            variant: opened_bench.serve(variant, SERVICE_MODULE, **environment)
            for variant, environment in variants.items()
        }
        for operation, requests in _requests_by_operation(opened_bench.data).items():
            _compare(
                opened_bench.load_generator,
                operation,
                servers,
                requests,
                options.rounds,
                options.seconds,
            )


def _requests_by_operation(data: Dataset) -> dict[str, list[bytes]]:
    """Return the requests of each operation: `{"GET /authors": [b"GET /authors ..."], ...}`."""
    author = json.dumps({"name": "Ursula K. Le Guin", "dob": "1929-10-21"}).encode()
    return {
        "GET /books/{id}": [encode_request(f"GET /books/{book}") for book in data.book_ids],
        "GET /authors": [encode_request("GET /authors")],
        "POST /authors": [encode_request("POST /authors", author)],
    }


def _compare(
    load_generator: LoadGenerator,
    operation: str,
    servers: dict[str, Server],
    requests: list[bytes],
    rounds: int,
    seconds: float,
) -> None:
    """Measure one operation, and print its table. The first server is the base of the ratios."""
    variants = {variant: (server, requests) for variant, server in servers.items()}
    measurements = measure_in_rounds(load_generator, variants, rounds, seconds)
    print(f"| `{operation}` | requests/s | ratio | CPU per request | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    base_rate = base_cpu = 0.0
    for variant, rounds_of_variant in measurements.items():
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
