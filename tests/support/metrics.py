"""Reads the metrics of another process as Prometheus does, and those of this process."""

import re
import socket
from collections.abc import Mapping

import httpx
from prometheus_client import REGISTRY
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


def request_counts(samples: Mapping[str, float]) -> dict[str, float]:
    """Return the number of requests by their labels. See `request_labels` for a key."""
    name = "http_request_duration_seconds_count"
    return {
        sample.removeprefix(name): value
        for sample, value in samples.items()
        if sample.startswith(name)
    }


def request_labels(method: str, route: str, status: int) -> str:
    """Return the labels of a request, for example `{method="GET",route="/books",status="200"}`."""
    return f'{{method="{method}",route="{route}",status="{status}"}}'


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


class RecordedMetrics:
    """Reads how much the metrics of this process have increased since the last call of `mark`."""

    def __init__(self) -> None:
        """Remember the present values."""
        self._samples = self._read()

    def mark(self) -> None:
        """Remember the present values."""
        self._samples = self._read()

    def increases(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a metric that have increased, by the values of their labels."""
        return {
            labels: value - self._samples.get((sample_name, labels), 0)
            for (sample_name, labels), value in self._read().items()
            if sample_name == name and value > self._samples.get((sample_name, labels), 0)
        }

    @staticmethod
    def _read() -> dict[tuple[str, tuple[str, ...]], float]:
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }
