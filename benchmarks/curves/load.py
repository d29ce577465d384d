"""Curves over the number of connections, processes and items of a batch."""

import asyncio
import json
from typing import Final

import asyncpg

from benchmarks.cores import Cores
from benchmarks.curves.bench import CurveBench
from benchmarks.curves.results import Panel
from benchmarks.wire import encode_request

CONNECTIONS: Final = (1, 4, 16, 64, 256)
PROCESSES: Final = (1, 2, 3, 4)
BATCH_SIZES: Final = (1, 10, 100, 1_000)
# Enough connections to keep four processes busy.
_CONNECTIONS_OF_PROCESSES: Final = 32


def measure_connections(bench: CurveBench) -> list[Panel]:
    """Measure the rate and the latency of reads on more and more connections."""
    rate = Panel("Connections: rate", "connections", "requests/s", log_y=False)
    latency = Panel("Connections: latency", "connections", "ms")
    database = bench.usual_database
    requests = [encode_request(f"GET /books/{book_id}") for book_id in database.book_ids]
    with bench.server(database) as server:
        bench.warm_up(server, requests, max(CONNECTIONS))
        for _ in range(bench.rounds):
            for connections in CONNECTIONS:
                result = bench.measure(server, requests, connections)
                rejections = result.failures["503"] / result.seconds
                rate.add("successful", connections, result.rate - rejections)
                rate.add("rejected (503)", connections, rejections)
                latency.add("median", connections, result.percentile(50) * 1e3)
                latency.add("99th percentile", connections, result.percentile(99) * 1e3)
    return [rate, latency]


def measure_processes(bench: CurveBench) -> list[Panel]:
    """Measure the rate and the memory of several processes, which may use all cores."""
    rate = Panel("Processes: rate", "processes", "requests/s", log_y=False)
    memory = Panel("Processes: memory", "processes", "MiB (PSS)", log_y=False)
    database = bench.usual_database
    requests = [encode_request(f"GET /books/{book_id}") for book_id in database.book_ids]
    for _ in range(bench.rounds):
        for processes in PROCESSES:
            environment = {"WEB_CONCURRENCY": str(processes)}
            with bench.server(database, Cores(), environment) as server:
                bench.warm_up(server, requests, _CONNECTIONS_OF_PROCESSES)
                result = bench.measure(server, requests, _CONNECTIONS_OF_PROCESSES)
                rate.add("one book", processes, result.rate)
                memory.add("all processes", processes, server.shared_memory_bytes() / 2**20)
    return [rate, memory]


def measure_batches(bench: CurveBench) -> Panel:
    """Measure the time for each book of batches of different sizes."""
    panel = Panel("Books in a batch", "books in POST /books/batch", "ms per book")
    database = bench.usual_database
    with bench.server(database) as server:
        requests = {}
        for size in BATCH_SIZES:
            item = {"title": "Batch", "author_id": str(database.author_id)}
            body = json.dumps({"items": [item] * size}).encode()
            requests[size] = [encode_request("POST /books/batch", body)]
            bench.warm_up(server, requests[size])
        for _ in range(bench.rounds):
            for size in BATCH_SIZES:
                result = bench.measure(server, requests[size])
                panel.add("one connection", size, result.percentile(50) * 1e3 / size)
    asyncio.run(_delete_new_books(database.url))
    return panel


async def _delete_new_books(url: str) -> None:
    """Delete the books of the batches."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DELETE FROM books WHERE title = 'Batch'")
        await connection.execute("VACUUM ANALYZE books")
    finally:
        await connection.close()
