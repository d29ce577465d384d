"""The container images that Dockerfile and docker-compose.yml name, with their digests.

The environment variables PYTHON_IMAGE, POSTGRES_IMAGE and RCLONE_IMAGE can replace them.
"""

import os
import re
from contextlib import closing
from typing import Final

from tests.support.processes import PROJECT_ROOT

VARIABLES: Final = ("PYTHON_IMAGE", "POSTGRES_IMAGE", "RCLONE_IMAGE")


def read_pinned_image(variable: str) -> str:
    """Return the default of a variable: `postgres:18@sha256:...` for POSTGRES_IMAGE."""
    for name in ("Dockerfile", "docker-compose.yml"):
        text = (PROJECT_ROOT / name).read_text()
        if match := re.search(rf"{variable}(?:=|:-)([^\s}}]+)", text):
            return match[1]
    raise AssertionError(f"no file has a default of {variable}")


def choose_image(variable: str) -> str:
    """Return the image to use: that of the variable, a local image, or the pinned image.

    A local image with the right tag is used even if its digest differs, because a developer without
    access to a registry may have built it. Requires a Docker daemon.
    """
    return os.environ.get(variable) or _find_local_image(variable) or read_pinned_image(variable)


def has_local_images(*variables: str) -> bool:
    """Return whether a Docker daemon is running and has an image for each variable."""
    # Imported lazily because the import is slow and rarely needed.
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        return all(map(_find_local_image, variables))
    except DockerException:
        return False


def _find_local_image(variable: str) -> str | None:
    """Return the name of an image that the Docker daemon has, or None.

    Raises `DockerException` if no daemon is running.
    """
    import docker  # noqa: PLC0415
    from docker.errors import ImageNotFound  # noqa: PLC0415

    pinned_image = os.environ.get(variable) or read_pinned_image(variable)
    tagged_image, _, digest = pinned_image.partition("@")
    names = [tagged_image]
    if digest:
        repository = tagged_image.partition(":")[0]
        names.insert(0, f"{repository}@{digest}")
    with closing(docker.DockerClient(timeout=5)) as client:
        for name in names:
            try:
                client.images.get(name)
            except ImageNotFound:
                continue
            return name
    return None
