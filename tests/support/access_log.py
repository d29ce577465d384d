"""What the service's log says of requests."""

import pytest


def logged_requests(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """Method, route and status of each that is over."""
    return [
        (record.method, record.route, record.status)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "app.access"
    ]
