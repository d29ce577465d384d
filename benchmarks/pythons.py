"""Compare Python interpreters, memory allocators and settings of the C library.

    python -m benchmarks.pythons "3.13=/opt/venv-3.13/bin/python" \\
        "3.13, jemalloc=/opt/venv-3.13/bin/python,LD_PRELOAD=libjemalloc.so.2,PYTHONMALLOC=malloc"

Each variant is a name, an interpreter whose environment contains `requirements.txt`, and variables
of its process. The servers of all variants are measured in turns, with a read and with a list. All
figures are compared with the first variant.
"""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks import bench
from benchmarks.bench import Bench
from benchmarks.servers import SERVICE_MODULE, Server, running_command
from benchmarks.trials import measure_in_rounds
from benchmarks.wire import encode_request

MIB: Final = 2**20
# The measured requests use no object store, and without a bucket the server would start an embedded
# one, which is not among the packages of `requirements.txt`.
STORE_SETTINGS: Final = {"S3_BUCKET": "unused", "S3_ENDPOINT_URL": "http://127.0.0.1:1"}


@dataclass(frozen=True)
class Variant:
    """An interpreter, and environment variables of its process."""

    name: str
    python: str
    environment: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Parse, for example, "3.13=/venv/bin/python,PYTHONMALLOC=malloc"."""
        name, separator, value = text.partition("=")
        if not separator:
            raise argparse.ArgumentTypeError(f"{text} is not NAME=PYTHON[,VARIABLE=VALUE ...]")
        python, *assignments = value.split(",")
        environment = dict(assignment.split("=", 1) for assignment in assignments)
        return cls(name, python, environment)


def main() -> None:
    """Run the measurements, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pythons",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("variants", type=Variant.parse, nargs="+", metavar="NAME=PYTHON[,...]")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.8, help="per round (%(default)s)")
    options = parser.parse_args()
    with bench.open_bench() as opened_bench, ExitStack() as stack:
        servers = {
            variant.name: stack.enter_context(_running_server(opened_bench, variant))
            for variant in options.variants
        }
        book_ids = opened_bench.data.book_ids
        workloads = {
            "GET /books/{id}": [encode_request(f"GET /books/{book}") for book in book_ids],
            "GET /books": [encode_request("GET /books?size=20&count=none")],
        }
        cpu_times = {
            workload: measure_in_rounds(
                opened_bench.load_generator,
                {name: (server, requests) for name, server in servers.items()},
                options.rounds,
                options.seconds,
            )
            for workload, requests in workloads.items()
        }
        _print_table(servers, cpu_times)


def _running_server(opened_bench: Bench, variant: Variant) -> AbstractContextManager[Server]:
    """Return a context manager that runs the service with an interpreter."""
    return running_command(
        variant.name,
        (variant.python, "-m", *SERVICE_MODULE),
        cores=opened_bench.layout.server,
        directory=opened_bench.directory,
        database_url=opened_bench.url,
        environment={**STORE_SETTINGS, **variant.environment},
    )


def _print_table(
    servers: Mapping[str, Server],
    measurements: Mapping[str, Mapping[str, list[tuple[float, float]]]],
) -> None:
    """Print the CPU time per request and the memory of each server."""
    print(f"| variant | {' | '.join(f'`{name}`, CPU' for name in measurements)} | memory |")
    print("| --- |" + " ---: |" * (len(measurements) + 1))
    first, *_ = servers
    for name, server in servers.items():
        cells = [
            _compare_cpu_times(by_server[name], by_server[first])
            for by_server in measurements.values()
        ]
        print(f"| {name} | {' | '.join(cells)} | {server.memory_bytes() / MIB:.0f} MiB |")


def _compare_cpu_times(
    measurements: list[tuple[float, float]], first_measurements: list[tuple[float, float]]
) -> str:
    """Return the median CPU time of a variant, and the median of its ratios to the first one.

    For example, "181 us (0.84)". The ratios are those of each round, so that a disturbance of the
    machine that lasts longer than a round does not change them.
    """
    cpu_times = [cpu_time for _, cpu_time in measurements]
    ratios = [
        cpu_time / first_cpu_time
        for cpu_time, (_, first_cpu_time) in zip(cpu_times, first_measurements, strict=True)
    ]
    return f"{median(cpu_times):.0f} us ({median(ratios):.2f})"


if __name__ == "__main__":
    main()
