"""Check that Kubernetes manifests name only labels, ports, objects and settings that exist."""

from collections.abc import Iterator, Mapping, Sequence
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
# The peers of a network policy are pods of other installations.
_PEERS: Final = {"from", "to"}


class Installation:
    """The objects, labels and ports that the objects of an installation may name."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        """Collect the objects, the labels of their pods, and the names of their ports."""
        self.objects = {describe(manifest) for manifest in manifests}
        self.pod_labels: list[Mapping[str, str]] = []
        self.port_names = set[str]()
        for manifest in manifests:
            for key, value in _walk(manifest):
                if key == "template":
                    self.pod_labels.append(value["metadata"]["labels"])
                # Those of containers and of Services. The ports of a network policy have no names.
                if key == "ports":
                    self.port_names |= {port["name"] for port in value if "name" in port}

    def has_pod(self, labels: Mapping[str, str]) -> bool:
        """Return whether pods have all of these labels."""
        return any(labels.items() <= pod_labels.items() for pod_labels in self.pod_labels)


def find_reference_errors(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield the errors of objects that name something that does not exist."""
    installation = Installation(manifests)
    for manifest in manifests:
        for error in _find_errors(manifest, installation):
            yield f"{describe(manifest)}: {error}"


def describe(manifest: Manifest) -> str:
    """Return the kind and the name of an object: `Service bookshelf-server`."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a mapping, and those of everything in it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _PEERS:
                yield key, item
                yield from _walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item)


def _find_errors(manifest: Manifest, installation: Installation) -> Iterator[str]:
    if manifest["kind"] == "ConfigMap":
        yield from _check_settings(manifest["data"])
    for key, value in _walk(manifest):
        if key == "env":
            yield from _find_unknown_settings({variable["name"] for variable in value})
        elif key == "args":
            yield from _check_command([*ENTRYPOINT, *value])
        elif key == "exec":
            yield from _check_command(value["command"])
        else:
            yield from _check_names(key, value, installation)


def _check_names(key: str, value: Any, installation: Installation) -> Iterator[str]:
    """Check an entry that may name another object, a port or the labels of pods."""
    name = _find_object(key, value)
    if name is not None and name not in installation.objects:
        yield f"the {name} does not exist"
    port = _find_port(key, value)
    if port is not None and port not in installation.port_names:
        yield f"the port {port} does not exist"
    labels = _find_labels(key, value)
    if labels is not None and not installation.has_pod(labels):
        yield f"no pod has the labels {dict(labels)}"


def _find_object(key: str, value: Any) -> str | None:
    """Return the object that an entry names, for example `Secret bookshelf-database`."""
    if key == "serviceAccountName":
        return f"ServiceAccount {value}"
    if key == "configMapRef":
        return f"ConfigMap {value['name']}"
    # The backend of an Ingress.
    if key == "service":
        return f"Service {value['name']}"
    if key == "scaleTargetRef":
        return f"{value['kind']} {value['name']}"
    return None


def _find_port(key: str, value: Any) -> str | None:
    """Return the name of the port that an entry names. Numbers are not checked."""
    if key in {"port", "targetPort"} and isinstance(value, str):
        return value
    # The backend of an Ingress.
    if key == "port" and isinstance(value, Mapping):
        name: str = value["name"]
        return name
    return None


def _find_labels(key: str, value: Any) -> Mapping[str, str] | None:
    """Return the labels of pods that an entry requires."""
    is_service_selector = key == "selector" and "matchLabels" not in value
    if key == "matchLabels" or is_service_selector:
        labels: Mapping[str, str] = value
        return labels
    return None


def _check_command(command: Sequence[str]) -> Iterator[str]:
    """Check that a command exists, for example `["python", "-m", "app", "jobs", "check"]`."""
    length = len(ENTRYPOINT)
    if command[:length] != ENTRYPOINT:
        yield f"{' '.join(command)} is not a command of the service"
        return
    arguments = list(command[length:])
    parsed_command: object = get_command(cli)
    while isinstance(parsed_command, TyperGroup):
        name = ""
        if arguments:
            name = arguments.pop(0)
        parsed_command = parsed_command.commands.get(name)
    if parsed_command is None:
        yield f"the service has no command {' '.join(command[length:])}"


def _check_settings(data: Mapping[str, Any]) -> Iterator[str]:
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
