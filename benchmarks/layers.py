"""Measure which layers take the time of `GET /books/{id}`, with servers that each add one layer.

The servers are measured in turns. The cost of a layer is the difference in CPU time per request.
"""

import argparse
from statistics import median
from typing import Final

from benchmarks import bench
from benchmarks.servers import SERVICE_MODULE, TUTORIAL_MODULE, Server
from benchmarks.trials import measure_in_rounds
from benchmarks.wire import encode_request

MIB: Final = 2**20
# The description of each server, its module (empty for this service), and the number of the server
# to which it adds a layer.
LAYERS: Final = {
    "uvicorn, constant response": ("benchmarks.rungs:server", None),
    "driver's pool, JSON from Postgres (`limit`)": ("benchmarks.peers.raw_asyncpg:app", 0),
    "route of Starlette": ("benchmarks.rungs:starlette", 0),
    "route of FastAPI with an id and a dependency": ("benchmarks.rungs:fastapi", 2),
    "with our middleware, authorization and strict parameters": ("benchmarks.rungs:service", 3),
    "Bookshelf: session, driver, row, model, JSON": ("", 4),
}


def main() -> None:
    """Run the measurements, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.8, help="per round (%(default)s)")
    options = parser.parse_args()
    with bench.open_bench() as opened_bench:
        servers = {
            layer: opened_bench.serve(layer, _module_arguments(module))
            for layer, (module, _) in LAYERS.items()
        }
        requests = [encode_request(f"GET /books/{book}") for book in opened_bench.data.book_ids]
        variants = {layer: (server, requests) for layer, server in servers.items()}
        _print_layers(
            measure_in_rounds(
                opened_bench.load_generator, variants, options.rounds, options.seconds
            )
        )
        *_, service = servers.values()
        _print_memory(service)


def _module_arguments(module: str) -> tuple[str, ...]:
    """Return the arguments of `python -m` that run the server of a layer."""
    if not module:
        return SERVICE_MODULE
    arguments = tuple(module if ":app" in word else word for word in TUTORIAL_MODULE)
    # `rungs.service` is a function that creates the application.
    if module.endswith(":service"):
        return (*arguments, "--factory")
    return arguments


def _print_layers(measurements: dict[str, list[tuple[float, float]]]) -> None:
    """Print the rate and the CPU time of each server, and the difference to the layer below."""
    print("| `GET /books/{id}` | requests/s | CPU per request | compared with | difference |")
    print("| --- | ---: | ---: | --- | ---: |")
    layers = list(measurements)
    cpu_times: list[float] = []
    for layer, (_, base_number) in LAYERS.items():
        rates, cpu_times_of_rounds = zip(*measurements[layer], strict=True)
        cpu_time = median(cpu_times_of_rounds)
        cpu_times.append(cpu_time)
        difference = "|"
        if base_number is not None:
            difference = f"{layers[base_number]} | {cpu_time - cpu_times[base_number]:.0f} us"
        print(f"| {layer} | {median(rates):.0f} | {cpu_time:.0f} us | {difference} |")


def _print_memory(service: Server) -> None:
    """Print the memory of the service before and after the readiness probe has loaded boto3."""
    memory_before = service.memory_bytes()
    status, _ = service.send(encode_request("GET /readyz"))
    assert status == 200, status
    memory_after = service.memory_bytes()
    print(
        f"\nMemory of Bookshelf: {memory_before / MIB:.0f} MiB, "
        f"and {memory_after / MIB:.0f} MiB after it has used the object store"
    )


if __name__ == "__main__":
    main()
