"""The metrics that a server and a worker export: their names, their labels, and their number."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from ruamel.yaml import YAML

from app.core.observability._metrics import KNOWN_METHODS
from app.core.observability._storage_metrics import STORE_FAILURE_REASONS
from app.main import create_app
from app.tables import metadata
from app.worker import JOBS
from tests.support import servers
from tests.support.processes import PROJECT_ROOT
from tests.support.scrapes import Scrapes, running_server_and_worker
from tests.support.settings import make_settings

DOCUMENT = PROJECT_ROOT / "docs/operations/monitoring.md"
ALERTS = PROJECT_ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = PROJECT_ROOT / "deploy/grafana/dashboard.json"
# The suffixes of the samples of a histogram.
HISTOGRAM_SUFFIX = re.compile("_(bucket|count|sum)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
# How many statuses a response can have: the number of those that the service uses, rounded up.
STATUSES = 25
# How many names the statements of one table can have.
OPERATIONS_OF_TABLE = 15
MAX_SERIES_OF_SERVER = 40_000
MAX_SERIES_OF_WORKER = 3_500


@pytest.fixture(scope="module")
async def scrapes(template_url: str) -> AsyncIterator[Scrapes]:
    """The samples of a server and a worker that have handled requests of many kinds."""
    async with servers.open_copy(template_url) as url, running_server_and_worker(url) as result:
        yield result


def documented_names() -> set[str]:
    """Return the names in the first column of the table of metrics."""
    section = DOCUMENT.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`(\w+)`", "".join(rows)))


def find_expressions(value: Any) -> Iterator[str]:
    """Return each PromQL expression in a file: the values of all keys `expr`, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from find_expressions(item)
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "expr":
                yield item
            yield from find_expressions(item)


def used_names(expression: str) -> set[str]:
    """Return the names of metrics in a PromQL expression, without the suffixes of histograms."""
    without_texts = re.sub(r'"[^"]*"', "", expression)
    without_selectors = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", without_texts)
    without_labels = re.sub(r"\b(by|on|without|group_left) \([^)]*\)", "", without_selectors)
    words = re.findall(r"[a-z][\w:]*\b(?!\s*\()", without_labels)
    return {HISTOGRAM_SUFFIX.sub("", word) for word in words if "_" in word}


def label_values(scrapes: Scrapes, label: str) -> set[str]:
    samples = [*scrapes.server, *scrapes.worker]
    labels = [pair for sample in samples for pair in LABEL.findall(sample)]
    return {value for name, value in labels if name == label}


async def test_documentation_lists_exactly_the_exported_metrics(scrapes: Scrapes) -> None:
    assert documented_names() == scrapes.names


async def test_rules_and_dashboard_use_only_exported_metrics(scrapes: Scrapes) -> None:
    rules = YAML(typ="safe").load(ALERTS)
    expressions = list(find_expressions(rules))
    expressions += find_expressions(json.loads(DASHBOARD.read_text()))
    recorded = {
        rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule
    }
    used = {name for expression in expressions for name in used_names(expression)}
    assert used - recorded - scrapes.names == set()


async def test_worker_counts_the_runs_of_its_jobs(scrapes: Scrapes) -> None:
    for job in JOBS:
        assert scrapes.worker[f'job_runs_total{{job_name="{job.name}",outcome="done"}}'] == 1
        # An alert needs the number before the first failure.
        assert scrapes.worker[f'job_runs_total{{job_name="{job.name}",outcome="failed"}}'] == 0


async def test_no_label_has_a_name_that_prometheus_uses(scrapes: Scrapes) -> None:
    assert label_values(scrapes, "job") | label_values(scrapes, "instance") == set()


async def test_clients_cannot_choose_the_value_of_a_label(scrapes: Scrapes) -> None:
    assert label_values(scrapes, "method") <= KNOWN_METHODS | {"other"}
    routes = {
        getattr(route, "path", "")
        for route in create_app(make_settings("postgresql://unused")).routes
    }
    assert label_values(scrapes, "route") <= routes | {"unknown"}
    assert label_values(scrapes, "reason") <= {*STORE_FAILURE_REASONS, "timeout", "queue_full"}
    tables = {name.partition(".")[0] for name in label_values(scrapes, "statement")}
    assert tables <= metadata.tables.keys() | {"other", "commit"}


async def test_documented_limit_holds_for_all_operations_and_statuses(scrapes: Scrapes) -> None:
    app = create_app(make_settings("postgresql://unused"))
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    # Each GET is also a HEAD.
    operations = sum(2 if route.methods == {"GET"} else 1 for route in routes)
    other_methods = len(routes) * len(KNOWN_METHODS)
    requests = (operations + len(KNOWN_METHODS)) * STATUSES + other_methods
    operations_of_tables = len(metadata.tables) * OPERATIONS_OF_TABLE
    assert requests * 16 + operations_of_tables * 12 + 1_000 <= MAX_SERIES_OF_SERVER
    assert operations_of_tables * 12 + 500 <= MAX_SERIES_OF_WORKER
    # In practice, the number is much smaller, even if clients ask for everything.
    assert len(scrapes.server) < 2_500
    assert len(scrapes.worker) < 1_000
