"""Check the Kubernetes manifests in `deploy/kubernetes`, without a cluster.

Each object has to match its schema, and may name only what exists: see `manifest_references.py`.
If kubectl is installed, the check also covers what the example overlay becomes.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
from ruamel.yaml import YAML

from checks.manifest_references import Manifest, describe, find_reference_errors

DIRECTORY: Final = Path(__file__).parents[1] / "deploy" / "kubernetes"
EXAMPLE: Final = DIRECTORY / "overlays" / "example"
KUBECTL: Final = shutil.which("kubectl")
KUSTOMIZATION: Final = "kustomization.yaml"


def find_errors() -> Iterator[str]:
    """Yield the errors of all manifests."""
    manifests = read_manifests()
    yield from find_schema_errors(manifests)
    yield from find_reference_errors(manifests)
    if KUBECTL is not None:
        rendered_manifests = render_example()
        yield from find_schema_errors(rendered_manifests)
        yield from find_reference_errors(rendered_manifests)


def load_yaml(text: str) -> list[Any]:
    """Return the documents of a YAML file."""
    return list(YAML(typ="safe").load_all(text))


def read_manifests() -> list[Manifest]:
    """Return all objects of the files, and the ConfigMap that kustomize generates from settings.

    Patches are left out, because they are only parts of objects.
    """
    manifests: list[Manifest] = []
    for path in sorted(DIRECTORY.rglob("*.yaml")):
        if path.name != KUSTOMIZATION and not path.name.endswith("-patch.yaml"):
            manifests += load_yaml(path.read_text())
    manifests.append(_read_settings())
    return manifests


def _read_settings() -> Manifest:
    """Return the ConfigMap of the example overlay: its settings, and those of the base."""
    data = {}
    for directory in (DIRECTORY / "base", EXAMPLE):
        for line in (directory / "settings.env").read_text().splitlines():
            name, separator, value = line.partition("=")
            if separator and not line.startswith("#"):
                data[name] = value
    [kustomization] = load_yaml((EXAMPLE / KUSTOMIZATION).read_text())
    name = kustomization["configMapGenerator"][0]["name"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def render_example() -> list[Manifest]:
    """Return the objects that `kubectl apply -k` would send for the example overlay."""
    command = [str(KUBECTL), "kustomize", str(EXAMPLE)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return load_yaml(result.stdout)


def find_schema_errors(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield the errors of objects that do not match the newest schema of their kind."""
    version = kubernetes_validate.latest_version()
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{describe(manifest)}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{describe(manifest)}: this kind does not exist in {manifest['apiVersion']}"
