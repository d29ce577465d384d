"""The check of Kubernetes manifests finds mistakes. `make check` runs it for those of deploy/."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from checks import kubernetes
from checks.manifest_references import describe, find_reference_errors

MANIFESTS = kubernetes.read_manifests()
Change = Callable[[dict[str, Any]], object]


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the container of a Deployment or Job."""
    result: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return result


# The reported error, the changed object, and a function that changes it.
REFERENCE_ERRORS: list[tuple[str, str, Change]] = [
    (
        "no pod has the labels ",
        "Deployment bookshelf-server",
        lambda m: m["spec"]["template"]["metadata"]["labels"].pop("app.kubernetes.io/component"),
    ),
    (
        "no pod has the labels ",
        "Deployment bookshelf-server",
        lambda m: m["spec"]["template"]["spec"]["topologySpreadConstraints"][0].update(
            labelSelector={"matchLabels": {"app": "server"}}
        ),
    ),
    (
        "the ServiceAccount default does not exist",
        "Job bookshelf-migration",
        lambda m: m["spec"]["template"]["spec"].update(serviceAccountName="default"),
    ),
    (
        "the ConfigMap settings does not exist",
        "Deployment bookshelf-worker",
        lambda m: container(m).update(envFrom=[{"configMapRef": {"name": "settings"}}]),
    ),
    (
        "DATABASE_URI is not a setting of the service",
        "Job bookshelf-migration",
        lambda m: container(m)["env"][0].update(name="DATABASE_URI"),
    ),
    (
        "the service has no command jobs",
        "Deployment bookshelf-worker",
        lambda m: container(m).update(args=["jobs"]),
    ),
    (
        "the service has no command jobs verify",
        "Deployment bookshelf-worker",
        lambda m: container(m)["livenessProbe"]["exec"]["command"].__setitem__(-1, "verify"),
    ),
    (
        "true is not a command of the service",
        "Deployment bookshelf-worker",
        lambda m: container(m)["livenessProbe"]["exec"].update(command=["true"]),
    ),
    (
        "the port web does not exist",
        "Deployment bookshelf-server",
        lambda m: container(m)["readinessProbe"]["httpGet"].update(port="web"),
    ),
    (
        "DB_POOL_SIZES is not a setting of the service",
        "ConfigMap bookshelf-settings",
        lambda m: m["data"].update(DB_POOL_SIZES="10"),
    ),
    (
        "trusted_proxies: ",
        "ConfigMap bookshelf-settings",
        lambda m: m["data"].update(TRUSTED_PROXIES="ingress"),
    ),
    ("s3_bucket: ", "ConfigMap bookshelf-settings", lambda m: m["data"].pop("S3_BUCKET")),
    (
        "the port metric does not exist",
        "Service bookshelf-metrics",
        lambda m: m["spec"]["ports"][0].update(targetPort="metric"),
    ),
    (
        "no pod has the labels ",
        "Service bookshelf-server",
        lambda m: m["spec"].update(selector={"app": "server"}),
    ),
    (
        "no pod has the labels ",
        "PodDisruptionBudget bookshelf-server",
        lambda m: m["spec"].update(selector={"matchLabels": {"app": "server"}}),
    ),
    (
        "the port web does not exist",
        "NetworkPolicy bookshelf-server",
        lambda m: m["spec"]["ingress"][0]["ports"][0].update(port="web"),
    ),
    (
        "the Deployment server does not exist",
        "HorizontalPodAutoscaler bookshelf-server",
        lambda m: m["spec"]["scaleTargetRef"].update(name="server"),
    ),
    (
        "the port https does not exist",
        "Ingress bookshelf",
        lambda m: m["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(
            port={"name": "https"}
        ),
    ),
    (
        "the Service server does not exist",
        "Ingress bookshelf",
        lambda m: m["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(
            name="server"
        ),
    ),
]


@pytest.mark.parametrize(("error", "name", "change"), REFERENCE_ERRORS)
def test_reference_to_something_missing_is_reported(error: str, name: str, change: Change) -> None:
    manifests = deepcopy(MANIFESTS)
    [manifest] = [manifest for manifest in manifests if describe(manifest) == name]
    change(manifest)  # type: ignore[arg-type]
    errors = list(find_reference_errors(manifests))
    assert any(line.startswith(f"{name}: {error}") for line in errors), errors


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m.update(kind="Unknown"), "this kind does not exist in apps/v1"),
        (lambda m: m["spec"].update(replica=2), "'replica' was unexpected"),
        (lambda m: m["spec"].update(replicas="2"), "'2' is not of type 'integer'"),
        (lambda m: m["spec"].pop("selector"), "'selector' is a required property"),
    ],
)
def test_object_that_does_not_match_its_schema_is_reported(change: Change, error: str) -> None:
    name = "Deployment bookshelf-server"
    [original] = [manifest for manifest in MANIFESTS if describe(manifest) == name]
    manifest = deepcopy(original)
    change(manifest)  # type: ignore[arg-type]
    [line] = kubernetes.find_schema_errors([manifest])
    assert error in line
