"""Check deploy/nginx.conf and deploy/haproxy.cfg with the programs themselves.

A program that is not installed is skipped. The check changes only what differs on a developer's
machine: the directories of files, and the users.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
# Debian installs servers in a directory that is not in the PATH of ordinary users.
PROGRAM_PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
NGINX: Final = shutil.which("nginx", path=PROGRAM_PATH)
HAPROXY: Final = shutil.which("haproxy", path=PROGRAM_PATH)
OPENSSL: Final = shutil.which("openssl")
# For example /etc/nginx/tls/api.example.com.pem, of which the last part is a group.
_SYSTEM_PATH: Final = re.compile(r"/(?:dev|etc|run|var)/(?:[\w.-]+/)*([\w.-]+)")
_USER_LINE: Final = re.compile(r"^ *(?:user|group) [\w-]+;?\n", re.MULTILINE)
# nginx creates the directories of all its modules when it starts, even if nothing uses them.
_TEMPORARY_DIRECTORIES: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# A certificate for the names under which a proxy is reached, valid for a day.
_CREATE_CERTIFICATE: Final = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
    *("-days", "1", "-subj", "/CN=api.example.com"),
    *("-addext", "subjectAltName=DNS:api.example.com,IP:127.0.0.1"),
)


def find_errors() -> Iterator[str]:
    """Yield what nginx and HAProxy report about their configurations."""
    if OPENSSL is None:
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        create_certificate(directory)
        if NGINX is not None:
            configuration = write_nginx_configuration(directory)
            yield from _find_errors_of_program(NGINX, "-t", "-c", str(configuration))
        if HAPROXY is not None:
            configuration = write_haproxy_configuration(directory)
            yield from _find_errors_of_program(HAPROXY, "-c", "-f", str(configuration))


def _find_errors_of_program(*command: str) -> Iterator[str]:
    """Yield the output of a program that checks a configuration, if the check fails.

    Warnings alone are not errors: newer versions warn of directives that older ones need.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        yield from (result.stdout + result.stderr).splitlines()


def create_certificate(directory: Path) -> None:
    """Create the certificate and the key that both configurations name, in a directory."""
    key = directory / "api.example.com.key"
    certificate = directory / "api.example.com.pem"
    files = ("-keyout", str(key), "-out", str(certificate))
    command = [str(OPENSSL), *_CREATE_CERTIFICATE, *files]
    subprocess.run(command, capture_output=True, check=True)
    # HAProxy reads both from one file.
    certificate.write_text(certificate.read_text() + key.read_text())


def write_nginx_configuration(
    directory: Path, replacements: Mapping[str, str] | None = None
) -> Path:
    """Copy the configuration of nginx for this machine. See `_write_configuration`."""
    paths = [f"{name}_temp_path {directory / name};" for name in _TEMPORARY_DIRECTORIES]
    http_block = "\n".join(["http {", *paths])
    return _write_configuration(
        "nginx.conf", directory, {"http {": http_block, **(replacements or {})}
    )


def write_haproxy_configuration(
    directory: Path, replacements: Mapping[str, str] | None = None
) -> Path:
    """Copy the configuration of HAProxy for this machine. See `_write_configuration`."""
    return _write_configuration("haproxy.cfg", directory, replacements or {})


def _write_configuration(name: str, directory: Path, replacements: Mapping[str, str]) -> Path:
    """Copy a configuration into a directory, with all files that it names in this directory.

    Args:
        name: The name of the file in `deploy/`.
        directory: The directory for the copy, which also has the certificate.
        replacements: The new text for each text. Raises `ValueError` if a text is missing.
    """
    text = (DEPLOY / name).read_text()
    text = _USER_LINE.sub("", text)
    text = _SYSTEM_PATH.sub(rf"{directory}/\1", text)
    for old_text, new_text in replacements.items():
        if old_text not in text:
            raise ValueError(f"{name} does not contain {old_text}")
        text = text.replace(old_text, new_text)
    copy = directory / name
    copy.write_text(text)
    return copy
