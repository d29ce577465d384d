"""Certificates of servers and of the authority that signs them, made with openssl."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Final

OPENSSL: Final = shutil.which("openssl")
# Options for a new key without a passphrase. Those of elliptic curves are made quickly.
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """An authority that signs certificates.

    `certificate` is the file that clients need to verify the servers.
    """

    def __init__(self, directory: Path) -> None:
        """Create an authority with its files in a new directory."""
        directory.mkdir()
        self.certificate = directory / "authority.crt"
        self._key = directory / "authority.key"
        self._request = directory / "request.csr"
        _run_openssl(
            *("req", "-x509", *_NEW_KEY, "-subj", "/CN=authority", "-days", "1"),
            *("-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def create_server_certificate(self, directory: Path, address: str, *, days: int = 1) -> None:
        """Create `server.crt` and `server.key` for Postgres.

        Args:
            directory: The data directory of the server.
            address: The IP address in the certificate.
            days: How long the certificate is valid. A negative number makes an expired one.
        """
        key = directory / "server.key"
        certificate = directory / "server.crt"
        _run_openssl(
            *("req", *_NEW_KEY, "-subj", "/CN=server", "-addext", f"subjectAltName=IP:{address}"),
            *("-keyout", str(key), "-out", str(self._request)),
        )
        _run_openssl(
            *("x509", "-req", "-in", str(self._request), "-copy_extensions", "copy"),
            *("-CA", str(self.certificate), "-CAkey", str(self._key)),
            *("-days", str(days), "-out", str(certificate)),
        )
        # Postgres refuses a key that other users can read.
        key.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(key, pwd.getpwnam("nobody").pw_uid, -1)


def _run_openssl(*arguments: str) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *arguments], check=True, capture_output=True)
