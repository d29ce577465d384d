"""The check of the alerts: their runbooks, and their tests with promtool."""

from typing import Any

import pytest

from checks import alerts

ANCHORS = {"noserver", "notready"}


def rules_with(alert: dict[str, Any]) -> dict[str, Any]:
    return {"groups": [{"name": "group", "rules": [{"record": "x", "expr": "1"}, alert]}]}


def valid_alert() -> dict[str, Any]:
    return {
        "alert": "NoServer",
        "labels": {"severity": "page"},
        "annotations": {"summary": "No server.", "runbook": "docs/operations.md#noserver"},
    }


def test_alerts_of_the_repository_have_severities_and_runbooks_and_pass_their_tests() -> None:
    assert alerts.main() == 0


def test_valid_alert_has_no_mistakes() -> None:
    assert list(alerts.find_mistakes(rules_with(valid_alert()), ANCHORS)) == []


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"labels": {"severity": "high"}}, "severity"),
        ({"annotations": {"runbook": "docs/operations.md#noserver"}}, "summary"),
        ({"annotations": {"summary": "No server.", "runbook": "docs/operations.md"}}, "runbook"),
        ({"alert": "NotReady"}, "runbook"),
    ],
)
def test_mistake_of_an_alert_is_reported(changes: dict[str, Any], mistake: str) -> None:
    [message] = alerts.find_mistakes(rules_with(valid_alert() | changes), ANCHORS)
    assert mistake in message


def test_alert_without_a_section_is_reported() -> None:
    [message] = alerts.find_mistakes(rules_with(valid_alert()), {"notready"})
    assert message == "NoServer: docs/operations.md has no section ### NoServer under ## Alerts"


def test_section_without_an_alert_is_reported() -> None:
    [message] = alerts.find_unknown_anchors(rules_with(valid_alert()), ANCHORS)
    assert message == "docs/operations.md#notready: there is no alert of this name"


def test_panel_that_does_not_exist_is_reported() -> None:
    dashboard = {"panels": [{"title": "Releases"}]}
    runbooks = 'Look at the panels "Releases" and "Slow reads".'
    [message] = alerts.find_unknown_panels(runbooks, dashboard)
    assert message == 'docs/operations.md: the dashboard has no panel "Slow reads"'
