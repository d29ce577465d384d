"""Check the alerts and the dashboard: `python -m checks.alerts`.

Each alert has a severity, and a runbook that is a section of docs/operations.md. The dashboard has
the panels that these sections name. If promtool, a program of Prometheus, is installed, it also
checks the syntax of the rules and runs their tests.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[1]
RULES: Final = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD: Final = ROOT / "deploy/grafana/dashboard.json"
RUNBOOKS: Final = "docs/operations.md"
SEVERITIES: Final = {"page", "ticket"}
PROMTOOL: Final = shutil.which("promtool")


def main() -> int:
    """Print all mistakes, and return the exit code."""
    rules = YAML(typ="safe").load(RULES)
    runbooks = find_runbooks((ROOT / RUNBOOKS).read_text())
    anchors = find_anchors(runbooks)
    dashboard = json.loads(DASHBOARD.read_text())
    mistakes = [
        *find_mistakes(rules, anchors),
        *find_unknown_anchors(rules, anchors),
        *find_unknown_panels(runbooks, dashboard),
    ]
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes:
        return 1
    return run_promtool()


def find_runbooks(document: str) -> str:
    """Return the part of docs/operations.md about alerts."""
    return document.partition("\n## Alerts\n")[2].partition("\n## ")[0]


def find_anchors(runbooks: str) -> set[str]:
    """Return the anchors of the sections about alerts, for example {"noserver"}."""
    return {heading.lower() for heading in re.findall(r"^### (\w+)$", runbooks, re.MULTILINE)}


def find_alerts(rules: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the alerts of all groups, without the rules that record a value."""
    for group in rules["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


def find_mistakes(rules: Mapping[str, Any], anchors: set[str]) -> Iterator[str]:
    """Describe each alert that lacks a valid severity, a summary or a runbook."""
    for alert in find_alerts(rules):
        name = alert["alert"]
        annotations = alert.get("annotations", {})
        if alert.get("labels", {}).get("severity") not in SEVERITIES:
            yield f"{name}: the label severity must be one of {', '.join(sorted(SEVERITIES))}"
        if not annotations.get("summary"):
            yield f"{name}: the annotation summary is missing"
        expected_runbook = f"{RUNBOOKS}#{name.lower()}"
        if annotations.get("runbook") != expected_runbook:
            yield f"{name}: the annotation runbook must be {expected_runbook}"
        elif name.lower() not in anchors:
            yield f"{name}: {RUNBOOKS} has no section ### {name} under ## Alerts"


def find_unknown_anchors(rules: Mapping[str, Any], anchors: set[str]) -> Iterator[str]:
    """Describe each section about an alert that does not exist."""
    names = {alert["alert"].lower() for alert in find_alerts(rules)}
    for anchor in sorted(anchors - names):
        yield f"{RUNBOOKS}#{anchor}: there is no alert of this name"


def find_unknown_panels(runbooks: str, dashboard: Mapping[str, Any]) -> Iterator[str]:
    """Describe each panel that a runbook names, in double quotes, and that does not exist."""
    titles = {panel["title"] for panel in dashboard["panels"]}
    for title in re.findall(r'"([^"]+)"', runbooks):
        if title not in titles:
            yield f'{RUNBOOKS}: the dashboard has no panel "{title}"'


def run_promtool() -> int:
    """Run promtool if it is installed. Return its exit code, or 0."""
    if PROMTOOL is None:
        print("promtool is not installed, so the rules were not parsed", file=sys.stderr)
        return 0
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        result = subprocess.run(
            [PROMTOOL, *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            print(result.stdout, result.stderr, sep="\n", file=sys.stderr)
            return result.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
