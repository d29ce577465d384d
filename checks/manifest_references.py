"""Check that Kubernetes manifests name only labels, ports, objects and settings that exist."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import cli
from app.settings import Settings

# An object of Kubernetes, as YAML describes it.
Manifest = Mapping[str, Any]
SETTINGS: Final = {name.upper() for name in Settings.model_fields}
# These variables are read by boto3 and not by the settings of the service.
BOTO3_VARIABLES: Final = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
# How a command of the service begins in the image. `args` follow it.
ENTRYPOINT: Final = ["python", "-m", "app"]
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")


class Cluster:
    """All objects of an installation."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        """Create a cluster with these objects."""
        self._manifests = manifests
        # The pod templates of Deployments and Jobs.
        self._templates = [
            manifest["spec"]["template"]
            for manifest in manifests
            if manifest["kind"] in {"Deployment", "Job"}
        ]

    def has(self, kind: str, name: str) -> bool:
        """Return whether there is such an object."""
        return any(
            (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
            for manifest in self._manifests
        )

    def find_templates(self, labels: Mapping[str, str]) -> list[Manifest]:
        """Return the pod templates that have all of these labels."""
        return [
            template
            for template in self._templates
            if labels.items() <= template["metadata"]["labels"].items()
        ]

    def find_ports(self, labels: Mapping[str, str]) -> set[str | int]:
        """Return the names and numbers of the ports of pods that have all of these labels."""
        ports = set[str | int]()
        for template in self.find_templates(labels):
            for container in template["spec"]["containers"]:
                ports |= _find_container_ports(container)
        return ports

    def find_service_ports(self, name: str) -> set[str]:
        """Return the names of the ports of a Service, or an empty set if it does not exist."""
        return {
            port["name"]
            for manifest in self._manifests
            if (manifest["kind"], manifest["metadata"]["name"]) == ("Service", name)
            for port in manifest["spec"]["ports"]
        }


def _find_container_ports(container: Manifest) -> set[str | int]:
    """Return the names and numbers of the ports of a container."""
    ports = set[str | int]()
    for port in container.get("ports", ()):
        ports |= {port["name"], port["containerPort"]}
    return ports


def find_reference_errors(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield the errors of objects that name something that does not exist."""
    cluster = Cluster(manifests)
    for manifest in manifests:
        find_errors = _CHECKS.get(manifest["kind"])
        if find_errors is not None:
            for error in find_errors(manifest, cluster):
                yield f"{describe(manifest)}: {error}"


def describe(manifest: Manifest) -> str:
    """Return the kind and the name of an object: `Service bookshelf-server`."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _check_deployment(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    template = manifest["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    if not manifest["spec"]["selector"]["matchLabels"].items() <= labels:
        yield "the selector does not match the labels of its pods"
    for constraint in template["spec"].get("topologySpreadConstraints", ()):
        if not constraint["labelSelector"]["matchLabels"].items() <= labels:
            yield "the topology spread does not match the labels of its pods"
    yield from _check_pod(manifest, cluster)


def _check_pod(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    pod = manifest["spec"]["template"]["spec"]
    if not cluster.has("ServiceAccount", pod["serviceAccountName"]):
        yield f"the ServiceAccount {pod['serviceAccountName']} does not exist"
    for container in pod["containers"]:
        for source in container.get("envFrom", ()):
            if not cluster.has("ConfigMap", source["configMapRef"]["name"]):
                yield f"the ConfigMap {source['configMapRef']['name']} does not exist"
        names = {variable["name"] for variable in container.get("env", ())}
        yield from _find_unknown_settings(names)
        yield from _check_command(container.get("args", ()))
        yield from _check_probes(container)


def _check_probes(container: Manifest) -> Iterator[str]:
    ports = _find_container_ports(container)
    for name in PROBES:
        probe = container.get(name, {})
        if "httpGet" in probe and probe["httpGet"]["port"] not in ports:
            yield f"the {name} uses the port {probe['httpGet']['port']}, which does not exist"
        if "exec" in probe:
            command = probe["exec"]["command"]
            if command[: len(ENTRYPOINT)] != ENTRYPOINT:
                yield f"the {name} is not a command of the service"
            yield from _check_command(command[len(ENTRYPOINT) :])


def _check_command(arguments: Sequence[str]) -> Iterator[str]:
    """Check that the command line has a command, for example `["jobs", "check"]`."""
    command: object = get_command(cli)
    remaining_arguments = list(arguments)
    while isinstance(command, TyperGroup):
        name = ""
        if remaining_arguments:
            name = remaining_arguments.pop(0)
        command = command.commands.get(name)
    if command is None:
        yield f"the service has no command {' '.join(arguments)}"


def _check_config_map(manifest: Manifest, _cluster: Cluster) -> Iterator[str]:
    data = manifest["data"]
    yield from _find_unknown_settings(set(data))
    settings = {name.lower(): value for name, value in data.items()}
    # The pods get it from a secret.
    settings["database_url"] = "postgresql://db.example/service"
    try:
        Settings(_env_file=None, **settings)
    except ValidationError as error:
        for problem in error.errors():
            yield f"{problem['loc'][0]}: {problem['msg']}"


def _find_unknown_settings(names: set[str]) -> Iterator[str]:
    for name in sorted(names - SETTINGS - BOTO3_VARIABLES):
        yield f"{name} is not a setting of the service"


def _check_service(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    spec = manifest["spec"]
    pod_ports = cluster.find_ports(spec["selector"])
    for port in spec["ports"]:
        if port["targetPort"] not in pod_ports:
            yield f"no pod has the port {port['targetPort']}"


def _check_disruption_budget(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    if not cluster.find_templates(manifest["spec"]["selector"]["matchLabels"]):
        yield "the selector matches no pod"


def _check_network_policy(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    labels = manifest["spec"]["podSelector"]["matchLabels"]
    if not cluster.find_templates(labels):
        yield "the selector matches no pod"
    pod_ports = cluster.find_ports(labels)
    for rule in manifest["spec"].get("ingress", ()):
        for port in rule["ports"]:
            if port["port"] not in pod_ports:
                yield f"no pod has the port {port['port']}"


def _check_autoscaler(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    target = manifest["spec"]["scaleTargetRef"]
    if not cluster.has(target["kind"], target["name"]):
        yield f"the {target['kind']} {target['name']} does not exist"


def _check_ingress(manifest: Manifest, cluster: Cluster) -> Iterator[str]:
    for rule in manifest["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            port = service["port"]["name"]
            if port not in cluster.find_service_ports(service["name"]):
                yield f"the Service {service['name']} with the port {port} does not exist"


# Yields the errors of an object of one kind.
_Check = Callable[[Manifest, Cluster], Iterator[str]]
_CHECKS: Final[dict[str, _Check]] = {
    "Deployment": _check_deployment,
    "Job": _check_pod,
    "ConfigMap": _check_config_map,
    "Service": _check_service,
    "PodDisruptionBudget": _check_disruption_budget,
    "NetworkPolicy": _check_network_policy,
    "HorizontalPodAutoscaler": _check_autoscaler,
    "Ingress": _check_ingress,
}
