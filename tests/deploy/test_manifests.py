"""The Kubernetes manifests agree with the code: times, sizes, ports and privileges."""

import re
from typing import Any

import pytest

from app import probe
from app.cli.migrate import EXPAND
from app.core.http._resources import MAX_LARGE_BODY_BYTES
from app.core.server._graceful_server import EXIT_TIMEOUT_SECONDS
from app.core.server._readiness import PROBE_TIMEOUT_SECONDS
from app.core.server._request_limits import PROBE_PATHS
from app.core.server._shutdown import SHUTDOWN_DELAY_SECONDS
from app.core.storage._limits import MAX_UPLOADS
from app.settings import Settings
from checks import kubernetes
from checks.manifest_references import describe
from tests.support import compose

MANIFESTS = {describe(manifest): manifest for manifest in kubernetes.read_manifests()}
SERVER = "Deployment bookshelf-server"
WORKER = "Deployment bookshelf-worker"
MIGRATION = "Job bookshelf-migration"
ACCOUNT = "ServiceAccount bookshelf"
AUTOSCALER = "HorizontalPodAutoscaler bookshelf-server"
SETTINGS_MAP = "ConfigMap bookshelf-settings"
DEPLOYMENTS = (SERVER, WORKER)
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
WORKLOADS = (*DEPLOYMENTS, MIGRATION)
SETTINGS = MANIFESTS[SETTINGS_MAP]["data"]
# The memory of a server that has no requests, and of their buffers.
OTHER_MEMORY_MIB = 300
MEMORY_OF_UPLOAD_MIB = 24
# `max_connections` of Postgres is 100 by default, and 3 of them are for superusers.
POSTGRES_CONNECTIONS = 97


def pod_of(name: str) -> dict[str, Any]:
    """Return the specification of the pods of a workload."""
    pod: dict[str, Any] = MANIFESTS[name]["spec"]["template"]["spec"]
    return pod


def container_of(name: str) -> dict[str, Any]:
    """Return the container of a workload."""
    [container] = pod_of(name)["containers"]
    result: dict[str, Any] = container
    return result


SERVER_CONTAINER = container_of(SERVER)
WORKER_CONTAINER = container_of(WORKER)


def test_pod_has_time_for_its_hook_and_the_shutdown() -> None:
    hook_seconds = SERVER_CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    shutdown_seconds = SHUTDOWN_DELAY_SECONDS + EXIT_TIMEOUT_SECONDS
    # docs/operations.md recommends 20 seconds without a hook.
    assert shutdown_seconds < 20
    grace_period = pod_of(SERVER)["terminationGracePeriodSeconds"]
    assert grace_period >= hook_seconds + 20
    assert pod_of(WORKER)["terminationGracePeriodSeconds"] >= 20


def test_probes_wait_for_longer_than_the_checks_take() -> None:
    assert SERVER_CONTAINER["readinessProbe"]["timeoutSeconds"] > PROBE_TIMEOUT_SECONDS
    for name in ("startupProbe", "livenessProbe"):
        assert SERVER_CONTAINER[name]["timeoutSeconds"] >= probe.TIMEOUT_SECONDS


def test_only_readiness_depends_on_the_database() -> None:
    paths = {name: SERVER_CONTAINER[name]["httpGet"]["path"] for name in PROBES}
    assert paths == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert set(paths.values()) == PROBE_PATHS


def test_worker_is_checked_like_in_docker_compose() -> None:
    _, *command = compose.load_compose_file()["services"]["worker"]["healthcheck"]["test"]
    for name in ("startupProbe", "livenessProbe"):
        assert WORKER_CONTAINER[name]["exec"]["command"] == command
        assert WORKER_CONTAINER[name]["timeoutSeconds"] >= 10


def test_servers_and_workers_do_not_exhaust_the_connections_of_postgres() -> None:
    settings = Settings(
        _env_file=None,
        database_url="postgresql://db.example/service",
        **{name.lower(): value for name, value in SETTINGS.items()},
    )
    pool_size = settings.db_pool_size
    connections_of_server = pool_size + pool_size // 4 + settings.web_concurrency
    # A worker has the same pools.
    max_servers = MANIFESTS[AUTOSCALER]["spec"]["maxReplicas"]
    max_pods = max_servers + MANIFESTS[WORKER]["spec"]["replicas"]
    # During an update, there is one more pod of each kind.
    assert (max_pods + 2) * connections_of_server <= POSTGRES_CONNECTIONS


def test_memory_of_server_suffices_for_uploads_and_batches() -> None:
    batches_mib = 2 * MAX_LARGE_BODY_BYTES // 2**20
    needed_mib = MAX_UPLOADS * MEMORY_OF_UPLOAD_MIB + batches_mib + OTHER_MEMORY_MIB
    limit = SERVER_CONTAINER["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Mi")) >= needed_mib * int(SETTINGS["WEB_CONCURRENCY"])


def test_containers_have_the_ports_of_the_settings() -> None:
    ports = {port["name"]: str(port["containerPort"]) for port in SERVER_CONTAINER["ports"]}
    assert ports == {"http": SETTINGS["PORT"], "metrics": SETTINGS["METRICS_PORT"]}
    assert WORKER_CONTAINER["ports"] == [
        {"name": "metrics", "containerPort": int(ports["metrics"])}
    ]


def test_ingress_does_not_reach_the_metrics() -> None:
    [port] = MANIFESTS["Service bookshelf-server"]["spec"]["ports"]
    assert port["targetPort"] == "http"
    [rule] = MANIFESTS["NetworkPolicy bookshelf-server"]["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["http"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_pod_is_unprivileged_and_has_no_token(name: str) -> None:
    pod = pod_of(name)
    user, group = compose.image_instructions("USER")[0].split(":")
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container_of(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert MANIFESTS[ACCOUNT]["automountServiceAccountToken"] is False
    # Variables such as METRICS_PORT=tcp://10.0.0.1:9000 would be settings.
    assert pod["enableServiceLinks"] is False


def test_only_the_migration_has_the_url_of_the_owner() -> None:
    secrets = {
        name: {
            variable["valueFrom"]["secretKeyRef"]["name"]
            for variable in container_of(name)["env"]
            if variable["name"] == "DATABASE_URL"
        }
        for name in WORKLOADS
    }
    assert secrets == {
        SERVER: {"bookshelf-app"},
        WORKER: {"bookshelf-app"},
        MIGRATION: {"bookshelf-owner"},
    }


def test_repository_has_no_secret() -> None:
    assert not [name for name in MANIFESTS if name.startswith("Secret")]
    for path in kubernetes.DIRECTORY.rglob("*"):
        if path.is_file():
            assert not re.search(r"postgres(ql)?://|SECRET\w*=", path.read_text()), path


def test_migration_keeps_what_pods_of_the_last_release_use() -> None:
    [container] = pod_of(MIGRATION)["containers"]
    assert container["args"] == ["migrate", EXPAND]


def test_argo_cd_migrates_after_the_settings_and_before_the_servers() -> None:
    def wave(manifest: Any) -> int:
        annotations = manifest["metadata"].get("annotations", {})
        return int(annotations.get("argocd.argoproj.io/sync-wave", 0))

    for name in (ACCOUNT, "NetworkPolicy bookshelf"):
        assert wave(MANIFESTS[name]) < wave(MANIFESTS[MIGRATION])
    for name in DEPLOYMENTS:
        assert wave(MANIFESTS[MIGRATION]) < wave(MANIFESTS[name])
    [base] = kubernetes.load_yaml((kubernetes.DIRECTORY / "base/kustomization.yaml").read_text())
    [generator] = base["configMapGenerator"]
    settings = {"metadata": generator["options"]}
    assert wave(settings) < wave(MANIFESTS[MIGRATION])


@pytest.mark.skipif(kubernetes.KUBECTL is None, reason="kubectl is not installed")
def test_overlay_changes_only_what_its_patches_name() -> None:
    rendered = {describe(manifest): manifest for manifest in kubernetes.render_example()}
    [settings_name] = [name for name in rendered if name.startswith("ConfigMap ")]
    assert rendered[settings_name]["data"] == SETTINGS
    assert set(rendered) - {settings_name} == set(MANIFESTS) - {SETTINGS_MAP}
    for name in ("Service bookshelf-server", "NetworkPolicy bookshelf-metrics"):
        assert rendered[name]["spec"] == MANIFESTS[name]["spec"]
    for name in WORKLOADS:
        [container] = rendered[name]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "registry.example.com/bookshelf:0.1.0"
        [source] = container["envFrom"]
        assert f"ConfigMap {source['configMapRef']['name']}" == settings_name
