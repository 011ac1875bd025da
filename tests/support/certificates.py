"""Certificates of servers that speak TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate that is its own authority, and its key."""

    file: Path
    key: Path

    def options(self, port: int) -> list[str]:
        """Return the options of a Redis that speaks TLS alone, also with its cluster."""
        return [
            *("--port", "0", "--tls-port", str(port)),
            *("--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.file), "--tls-key-file", str(self.key)),
            *("--tls-ca-cert-file", str(self.file)),
        ]


def certificate(folder: Path) -> Certificate:
    """Make the certificate of 127.0.0.1."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(made.key), "-out", str(made.file)),
        ],
        check=True,
        capture_output=True,
    )
    return made


def url_of(plain: str, tls: Certificate | None) -> str:
    """Return the URL of a server, of the scheme for TLS if it has a certificate."""
    if tls is None:
        return plain
    return f"{plain.replace('redis', 'rediss', 1)}?ssl_ca_certs={tls.file}"
