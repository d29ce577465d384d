"""The metrics of real processes, as Prometheus reads them."""

import socket
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families


def find_free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


async def scrape_metrics(port: str) -> Mapping[str, float]:
    """Every sample by its name and labels, as in the text."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    answer.raise_for_status()
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples
