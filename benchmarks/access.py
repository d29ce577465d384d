"""Measure the cost of a token and of the metrics per request, and the time of failed logins.

`GET /books/{id}` is measured without and with a token, in turns, optionally also with another
checkout of the service, and with and without metrics. The time of a failed login must not reveal
whether an account exists.
"""

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

import asyncpg

from benchmarks import bench
from benchmarks.servers import SERVICE_MODULE, Server, environment_of_checkout, find_free_port
from benchmarks.trials import measure_in_rounds
from benchmarks.wire import add_token, encode_request

EMAIL: Final = "ada@example.com"
PASSWORD: Final = "correct horse"
FORM_TYPE: Final = "application/x-www-form-urlencoded"


def main() -> None:
    """Run the measurements, and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.access", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per round (%(default)s)")
    parser.add_argument("--attempts", type=int, default=200, help="logins of each kind")
    parser.add_argument("--before", type=Path, help="directory of another checkout to measure too")
    parser.add_argument("--processes", default="1", help="of each server (%(default)s)")
    parser.add_argument("--metrics", action="store_true", help="also measure what metrics cost")
    options = parser.parse_args()
    environment = {"WEB_CONCURRENCY": options.processes}
    with bench.open_bench() as opened_bench:
        service = opened_bench.serve(
            "bookshelf",
            SERVICE_MODULE,
            **environment,
            METRICS_PORT=_metrics_port(is_enabled=options.metrics),
        )
        anonymous, authenticated = _read_requests(service, opened_bench.data.book_ids)
        variants = {
            "without a token": (service, anonymous),
            "with a token": (service, authenticated),
        }
        if options.metrics:
            without_metrics = opened_bench.serve("without metrics", SERVICE_MODULE, **environment)
            variants["without a token, without metrics"] = (without_metrics, anonymous)
        if options.before:
            before = opened_bench.serve(
                "before",
                SERVICE_MODULE,
                **environment,
                **environment_of_checkout(options.before),
                METRICS_PORT=_metrics_port(is_enabled=options.metrics),
            )
            variants["before, without a token"] = (before, anonymous)
        _print_reads(
            measure_in_rounds(
                opened_bench.load_generator, variants, options.rounds, options.seconds
            )
        )
        durations = _measure_failed_logins(service, opened_bench.url, options.attempts)
        _print_failed_logins(asyncio.run(durations))


def _metrics_port(*, is_enabled: bool) -> str:
    """Return the value of METRICS_PORT. With 0, a server exports no metrics."""
    if is_enabled:
        return str(find_free_port())
    return "0"


def _read_requests(server: Server, book_ids: Sequence[UUID]) -> tuple[list[bytes], list[bytes]]:
    """Return requests that read books, without a token and with a token of a new user."""
    user = {"name": "Ada", "email": EMAIL, "password": PASSWORD}
    status, _ = server.send(encode_request("POST /users", json.dumps(user).encode()))
    assert status == 201
    status, token = server.send(_login_request(EMAIL, PASSWORD))
    assert status == 201
    anonymous = [encode_request(f"GET /books/{book_id}") for book_id in book_ids]
    authenticated = [add_token(request, token["access_token"]) for request in anonymous]
    return anonymous, authenticated


def _login_request(email: str, password: str) -> bytes:
    form = urlencode({"username": email, "password": password})
    return encode_request("POST /tokens", form.encode(), FORM_TYPE)


def _print_reads(measurements: dict[str, list[tuple[float, float]]]) -> None:
    """Print the rate and the CPU time of each variant, and its ratio to the first one."""
    print("| `GET /books/{id}` | requests/s | range | CPU per request | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    first_rounds = next(iter(measurements.values()))
    base_rate = median(rate for rate, _ in first_rounds)
    for name, rounds in measurements.items():
        rates, cpus = zip(*rounds, strict=True)
        print(
            f"| {name} | {median(rates):.0f} | {min(rates):.0f}-{max(rates):.0f} "
            f"| {median(cpus):.0f} us | {median(rates) / base_rate:.3f} |"
        )


async def _measure_failed_logins(server: Server, url: str, attempts: int) -> dict[str, list[float]]:
    """Return the seconds that failed logins take, with and without an account, in turns.

    The recorded failures are deleted after each login, so that the service never makes one wait.
    """
    connection = await asyncpg.connect(url)
    emails: dict[str, Callable[[int], str]] = {
        "with an account": lambda _: EMAIL,
        "without an account": lambda number: f"nobody{number}@example.com",
    }
    durations: dict[str, list[float]] = defaultdict(list)
    for number in range(attempts):
        for name, email in emails.items():
            request = _login_request(email(number), "battery staple")
            started_at = perf_counter()
            status, _ = await asyncio.to_thread(server.send, request)
            durations[name].append(perf_counter() - started_at)
            assert status == 401, status
            await connection.execute("DELETE FROM attempt_counters")
    await connection.close()
    return durations


def _print_failed_logins(durations: dict[str, list[float]]) -> None:
    """Print the median and the quartiles of the durations, in milliseconds."""
    print("\n| failed login with an email address | median | quartiles |")
    print("| --- | ---: | ---: |")
    for name, seconds in durations.items():
        first, middle, third = (quartile * 1e3 for quartile in quantiles(seconds, n=4))
        print(f"| {name} | {middle:.2f} ms | {first:.2f}-{third:.2f} |")


if __name__ == "__main__":
    main()
