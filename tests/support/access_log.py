"""Reads the access log of the service."""

import pytest


def logged_requests(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """Return the method, route and status of each finished request in the access log.

    Example: `[("GET", "/authors/{id}", 200)]`.
    """
    return [
        (record.method, record.route, record.status)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "app.access"
    ]
