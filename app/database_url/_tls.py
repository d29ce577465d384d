"""Checks the TLS parameters of database URLs, whose mistakes would make every connection fail."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM_CERTIFICATES: Final = "system"
_OLDEST_VERSION: Final = "TLSv1.2"
_NEWEST_VERSION: Final = "TLSv1.3"
_ENCRYPTED_MODES: Final = {"require", "verify-ca", "verify-full"}
_VERIFYING_MODES: Final = {"verify-ca", "verify-full"}


def check_tls_parameters(parameters: Mapping[str, str]) -> None:
    """Require TLS parameters that fit together, and files that can be read.

    Raises `ValueError` with a message that names the parameter and contains no value.
    """
    ssl_mode = parameters.get("sslmode", "prefer")
    root_certificates = parameters.get("sslrootcert", "")
    if root_certificates == SYSTEM_CERTIFICATES and ssl_mode != "verify-full":
        raise ValueError("Supports sslrootcert=system only with sslmode=verify-full")
    if root_certificates == SYSTEM_CERTIFICATES and "sslcrl" in parameters:
        raise ValueError("Supports sslcrl only with a file as sslrootcert, not with system")
    if parameters.get("sslnegotiation") == "direct" and ssl_mode not in _ENCRYPTED_MODES:
        raise ValueError(
            "Supports sslnegotiation=direct only with sslmode=require, verify-ca or verify-full"
        )
    if ssl_mode in _VERIFYING_MODES and not root_certificates and not _has_default_certificates():
        raise ValueError(
            f"Needs sslrootcert for sslmode={ssl_mode}: the file with the certificates of the"
            " authority that has signed the server's certificate, or system for the authorities"
            " that this machine trusts, which requires sslmode=verify-full"
        )
    min_version = parameters.get("ssl_min_protocol_version", _OLDEST_VERSION)
    if min_version > parameters.get("ssl_max_protocol_version", _NEWEST_VERSION):
        raise ValueError("Needs ssl_max_protocol_version not to be below ssl_min_protocol_version")
    _check_files(parameters)


def _has_default_certificates() -> bool:
    """Return whether the driver has root certificates without the parameter `sslrootcert`."""
    default_file = Path("~/.postgresql/root.crt").expanduser()
    return bool(os.environ.get("PGSSLROOTCERT")) or default_file.is_file()


def _check_files(parameters: Mapping[str, str]) -> None:
    """Read the files that the driver reads for each connection.

    Raises `ValueError` if it will not be able to use one of them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl"):
        file_name = parameters.get(name, "")
        if file_name and file_name != SYSTEM_CERTIFICATES:
            try:
                context.load_verify_locations(cafile=file_name)
            except (OSError, ValueError):
                raise ValueError(f"Needs a PEM file that the service can read as {name}") from None
    certificate = parameters.get("sslcert", "")
    if certificate:
        load_client_certificate(context, certificate, parameters.get("sslkey", ""))


def load_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load the certificate of the service and its key, which may be in the same file.

    Raises `ValueError` if they cannot be read or do not belong together.
    """
    try:
        # Without a password, OpenSSL would ask for the passphrase on the terminal.
        context.load_cert_chain(certificate, keyfile=key or None, password="")
    except (OSError, ValueError):
        raise ValueError(
            "Needs PEM files that the service can read as sslcert and sslkey: a certificate and its"
            " key, without a passphrase"
        ) from None
