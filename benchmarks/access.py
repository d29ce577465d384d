"""What a token costs a request, and whether a log-in tells by its time who has an account.

python -m benchmarks.access [--before CHECKOUT]: `GET /books/{id}` without a token and with one, by
turns; with `--before` also of another checkout of the service, over the same database.
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
from benchmarks.servers import BOOKSHELF_MODULE, Server
from benchmarks.trials import measure_in_turns
from benchmarks.wire import encode_request

EMAIL, PASSWORD = "ada@example.com", "correct horse"
FORM: Final = "application/x-www-form-urlencoded"


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.access", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--attempts", type=int, default=200, help="log-ins of each kind")
    parser.add_argument("--before", type=Path, help="another checkout to measure beside this one")
    options = parser.parse_args()
    with bench.open_bench() as opened:
        ours = opened.serve("bookshelf", BOOKSHELF_MODULE)
        plain, bearing = _reads(ours, opened.data.book_ids)
        variants = {"without a token": (ours, plain), "with a token": (ours, bearing)}
        if options.before:
            other = opened.serve(
                "before", BOOKSHELF_MODULE, PYTHONPATH=str(options.before.resolve())
            )
            variants["before, without a token"] = (other, plain)
        _print_reads(measure_in_turns(opened.generate, variants, options.rounds, options.seconds))
        _print_log_ins(asyncio.run(_log_ins(ours, opened.url, options.attempts)))


def _reads(server: Server, books: Sequence[UUID]) -> tuple[list[bytes], list[bytes]]:
    """The same reads without and with a token."""
    user = {"name": "Ada", "email": EMAIL, "password": PASSWORD}
    assert server.send(encode_request("POST /users", json.dumps(user).encode()))[0] == 201
    status, token = server.send(_log_in(EMAIL, PASSWORD))
    assert status == 201
    plain = [encode_request(f"GET /books/{book}") for book in books]
    line = f"\r\nAuthorization: Bearer {token['access_token']}\r\n\r\n".encode()
    return plain, [each.replace(b"\r\n\r\n", line) for each in plain]


def _log_in(email: str, password: str) -> bytes:
    form = urlencode({"username": email, "password": password})
    return encode_request("POST /tokens", form.encode(), FORM)


def _print_reads(found: dict[str, list[tuple[float, float]]]) -> None:
    print("| `GET /books/{id}` | requests/s | range | CPU per request | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    base = median(rate for rate, _ in next(iter(found.values())))
    for name, rounds in found.items():
        rates, cpus = zip(*rounds, strict=True)
        print(
            f"| {name} | {median(rates):.0f} | {min(rates):.0f}-{max(rates):.0f} "
            f"| {median(cpus):.0f} us | {median(rates) / base:.3f} |"
        )


async def _log_ins(server: Server, url: str, attempts: int) -> dict[str, list[float]]:
    """Seconds of log-ins that fail, by turns; between them all failures are forgotten."""
    connection = await asyncpg.connect(url)
    emails: dict[str, Callable[[int], str]] = {
        "with an account": lambda _: EMAIL,
        "without an account": lambda number: f"nobody{number}@example.com",
    }
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(attempts):
        for name, email in emails.items():
            attempt = _log_in(email(number), "battery staple")
            begun = perf_counter()
            status, _ = await asyncio.to_thread(server.send, attempt)
            found[name].append(perf_counter() - begun)
            assert status == 401, status
            await connection.execute("DELETE FROM login_failures")
    await connection.close()
    return found


def _print_log_ins(found: dict[str, list[float]]) -> None:
    print("\n| a log-in that fails, of an email | median | quartiles |")
    print("| --- | ---: | ---: |")
    for name, seconds in found.items():
        first, middle, third = (each * 1e3 for each in quantiles(seconds, n=4))
        print(f"| {name} | {middle:.2f} ms | {first:.2f}-{third:.2f} |")


if __name__ == "__main__":
    main()
