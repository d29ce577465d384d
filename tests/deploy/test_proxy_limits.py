"""The timeouts and sizes of nginx and HAProxy in deploy/ agree with those of the service."""

import re
from pathlib import Path

import pytest
import uvicorn

from app.core.client_network import IPV6_PREFIX_LENGTH
from app.core.server._protocol import HEAD_TIMEOUT_SECONDS
from app.core.server._readiness import PROBE_TIMEOUT_SECONDS
from app.core.server._request_limits import MAX_HEADERS, MAX_HEADERS_BYTES, MAX_TARGET_BYTES
from app.core.server._shutdown import SHUTDOWN_DELAY_SECONDS
from app.settings import Settings
from checks import proxies
from tests.support.proxies import skip_without_proxy

NGINX = (proxies.DEPLOY / "nginx.conf").read_text()
HAPROXY = (proxies.DEPLOY / "haproxy.cfg").read_text()
REQUEST_TIMEOUT = Settings.model_fields["request_timeout"].default


def value_of(configuration: str, name: str) -> str:
    """Return the value of a directive: the words that follow its name in its line."""
    [value] = re.findall(rf"^ *{name} +([^;\n]+)", configuration, re.MULTILINE)
    text: str = value
    return text


def seconds_of(configuration: str, name: str) -> float:
    """Return the value of a directive such as `timeout client 40s` or `inter 500ms`."""
    [(number, unit)] = re.findall(rf"(?<=[ \n]){name} +(\d+)(ms|s)\b", configuration)
    divisors = {"s": 1, "ms": 1000}
    return int(number) / divisors[unit]


@pytest.mark.parametrize(
    ("configuration", "name"),
    [
        (NGINX, "client_body_timeout"),
        (NGINX, "send_timeout"),
        (NGINX, "proxy_send_timeout"),
        (NGINX, "proxy_read_timeout"),
        (HAPROXY, "timeout client"),
        (HAPROXY, "timeout server"),
    ],
)
def test_proxy_waits_for_longer_than_the_service(configuration: str, name: str) -> None:
    assert seconds_of(configuration, name) > REQUEST_TIMEOUT


@pytest.mark.parametrize(
    ("configuration", "name"), [(NGINX, "client_header_timeout"), (HAPROXY, "timeout http-request")]
)
def test_proxy_waits_for_the_head_of_a_request_as_long_as_the_service(
    configuration: str, name: str
) -> None:
    assert seconds_of(configuration, name) == HEAD_TIMEOUT_SECONDS


def test_nginx_closes_idle_connections_before_the_server_does() -> None:
    server_timeout = uvicorn.Config("app.main:app").timeout_keep_alive
    assert seconds_of(NGINX, "keepalive_timeout") < server_timeout


def test_nginx_does_not_repeat_a_request_that_takes_long() -> None:
    retry_timeout = seconds_of(NGINX, "proxy_next_upstream_timeout")
    assert retry_timeout < seconds_of(NGINX, "proxy_read_timeout")


def test_haproxy_notices_a_shutdown_before_the_port_is_closed() -> None:
    checks = seconds_of(HAPROXY, "inter") + seconds_of(HAPROXY, "fastinter")
    assert " fall 2 " in HAPROXY
    assert checks < 0.75 * SHUTDOWN_DELAY_SECONDS
    assert seconds_of(HAPROXY, "timeout check") > PROBE_TIMEOUT_SECONDS


def test_heads_that_the_service_accepts_fit_into_the_buffers_of_the_proxies() -> None:
    [buffer_kib] = re.findall(r"\d+ (\d+)k", value_of(NGINX, "large_client_header_buffers"))
    assert int(buffer_kib) * 1024 > MAX_HEADERS_BYTES
    buffer_bytes = int(value_of(HAPROXY, "tune.bufsize"))
    assert buffer_bytes > MAX_TARGET_BYTES + MAX_HEADERS_BYTES
    # Each proxy adds a few headers.
    assert int(value_of(HAPROXY, "tune.http.maxhdr")) > MAX_HEADERS + 10


def test_haproxy_counts_clients_by_the_networks_of_the_service() -> None:
    assert f"track-sc0 src,ipmask(32,{IPV6_PREFIX_LENGTH})" in HAPROXY


@pytest.mark.parametrize("configuration", [NGINX, HAPROXY], ids=["nginx", "haproxy"])
def test_proxies_use_the_port_of_the_servers_and_not_that_of_the_metrics(
    configuration: str,
) -> None:
    ports = re.findall(r"\b10\.0\.0\.\d+:(\d+)", configuration)
    assert set(ports) == {str(Settings.model_fields["port"].default)}


@pytest.mark.parametrize(
    ("name", "error"),
    [("nginx", 'unknown directive "send_timeouts"'), ("haproxy", "unknown keyword 'retry'")],
)
def test_mistake_in_a_configuration_is_reported(
    name: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_proxy(name)
    (tmp_path / "nginx.conf").write_text(NGINX.replace("send_timeout ", "send_timeouts "))
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.replace("    retries", "    retry"))
    monkeypatch.setattr(proxies, "DEPLOY", tmp_path)
    assert any(error in line for line in proxies.find_errors())
