"""Reads the metrics of a process as Prometheus does."""

import re
import socket
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import TIMEOUT_SECONDS


def find_free_port() -> str:
    """Return the number of a TCP port on which no process is listening."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


async def scrape_metrics(port: str) -> Mapping[str, float]:
    """Return the value of each sample that a process exposes at `/metrics`.

    The keys are names with sorted labels: `http_requests_total{method="GET",status="200"}`.
    """
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(await _scrape(port)):
        for sample in family.samples:
            key = sample.name
            if sample.labels:
                labels = [f'{name}="{value}"' for name, value in sorted(sample.labels.items())]
                key += "{" + ",".join(labels) + "}"
            values[key] = sample.value
    return values


async def scrape_names(port: str) -> set[str]:
    """Return the names of all metrics that a process exposes, also of those without samples."""
    type_lines = re.findall(r"^# TYPE (\w+)", await _scrape(port), re.MULTILINE)
    return set(type_lines)


async def _scrape(port: str) -> str:
    """Return the metrics that a process exposes, in the text format of Prometheus."""
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
        response = await client.get(f"http://127.0.0.1:{port}/metrics")
    response.raise_for_status()
    return response.text
