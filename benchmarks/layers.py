"""Where the time of a read goes: `GET /books/{id}`, by servers that each do more of it.

python -m benchmarks.layers: all by turns; what the server's processor has to do for one request.
"""

import argparse
from statistics import median
from typing import Final

from benchmarks import bench
from benchmarks.servers import BOOKSHELF_MODULE, TUTORIAL_MODULE, Server
from benchmarks.trials import measure_in_turns
from benchmarks.wire import encode_request

# What each server does, its module, and the row of which it does all, too.
LAYERS: Final = {
    "uvicorn, an answer that is there": ("benchmarks.rungs:server", None),
    "a driver's pool, JSON from Postgres (the limit)": ("benchmarks.peers.raw_asyncpg:app", 0),
    "a route of Starlette's": ("benchmarks.rungs:starlette", 0),
    "a route of FastAPI's: an id, a dependency": ("benchmarks.rungs:fastapi", 2),
    "our middleware, who may, strict parameters": ("benchmarks.rungs:service", 3),
    "Bookshelf: session, driver, row, model, JSON": ("", 4),
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.8)
    options = parser.parse_args()
    with bench.open_bench() as opened:
        servers = {
            layer: opened.serve(layer, _module(module)) for layer, (module, _) in LAYERS.items()
        }
        requests = [encode_request(f"GET /books/{book}") for book in opened.data.book_ids]
        variants = {layer: (server, requests) for layer, server in servers.items()}
        _print_layers(measure_in_turns(opened.generate, variants, options.rounds, options.seconds))
        _print_memory(servers[[*LAYERS][-1]])


def _module(module: str) -> tuple[str, ...]:
    if not module:
        return BOOKSHELF_MODULE
    factory = ("--factory",) if module.endswith(":service") else ()
    return *(module if ":app" in word else word for word in TUTORIAL_MODULE), *factory


def _print_layers(found: dict[str, list[tuple[float, float]]]) -> None:
    print("| `GET /books/{id}` | requests/s | CPU per request | more than | by |")
    print("| --- | ---: | ---: | --- | ---: |")
    rows, costs = list(found.items()), list[float]()
    for (layer, rounds), (_, base) in zip(rows, LAYERS.values(), strict=True):
        rate, cpu = (median(values) for values in zip(*rounds, strict=True))
        costs.append(cpu)
        more = (
            f"{rows[base][0].partition(':')[0]} | {cpu - costs[base]:.0f} us"
            if base is not None
            else "|"
        )
        print(f"| {layer} | {rate:.0f} | {cpu:.0f} us | {more} |")


def _print_memory(ours: Server) -> None:
    """Print the memory of the service before and after the readiness probe has loaded boto3."""
    before = ours.memory_bytes()
    status, _ = ours.send(encode_request("GET /readyz"))
    assert status == 200, status
    sizes = " MiB, and ".join(f"{size / 2**20:.0f}" for size in (before, ours.memory_bytes()))
    print(f"\nMemory of Bookshelf: {sizes} MiB when the store has been asked")


if __name__ == "__main__":
    main()
